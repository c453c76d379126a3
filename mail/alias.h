/* mail/alias.h - who an address of ours stands for. Pure.
 *
 * Maps hold names and their targets, as files and directives say them; rules
 * say which domains are ours, which maps count there, and what becomes of a
 * name that no map has. Both are made once and then only read, by any thread.
 *
 * An address of ours is looked up in this order; the first that has it wins:
 *   1. as it is: among the addresses, then among the names of the domain's
 *      aliases file, then in the domain's list of recipients
 *   2. the same without "+tag"
 *   3. what catches all the domain's names
 *   4. a domain without a list takes it, for the next hop to know
 *   5. postmaster; abuse and mailer-daemon, which go where postmaster goes
 *      (RFC 5321 section 4.5.1, RFC 2142)
 * Local parts compare without case. Targets are looked up in turn, each once;
 * one that its own expansion names again ("info: info, copy@…") is final.
 */
#ifndef MAIL_ALIAS_H
#define MAIL_ALIAS_H

#include "mail/path.h"

/* ---- maps ---------------------------------------------------------------------- */

struct alias_map;

enum alias_target_kind {
    ALIAS_TO_ADDRESS, /* local@domain */
    ALIAS_TO_LOCAL,   /* in the domain of the name looked up */
    ALIAS_TO_DOMAIN,  /* "@domain": the name looked up, there */
};

struct alias_entry_place {
    const char *file;
    unsigned line;
};

struct alias_map *alias_map_new(void);
void alias_map_free(struct alias_map *m); /* NULL is fine */

/* Begins the entry `name` (as of alias_name_normalise), to which targets then
 * belong. False: there is one already, told by *first; nothing was begun.
 * place.file is kept by pointer. */
bool alias_map_begin(struct alias_map *m, struct slice name, struct alias_entry_place place,
                     struct alias_entry_place *first);
void alias_map_target(struct alias_map *m, enum alias_target_kind kind, struct slice text, bool final);
size_t alias_map_count(const struct alias_map *m);
struct slice alias_map_name(const struct alias_map *m, size_t i);
struct alias_entry_place alias_map_place(const struct alias_map *m, size_t i);

/* ---- rules --------------------------------------------------------------------- */

struct alias_domain {
    const char *name;              /* lower-case A-labels */
    bool passes;                   /* what no map has may go on to the next hop */
    bool listed;                   /* but only if it is among the recipients */
    const struct alias_map *names; /* of its aliases file; or NULL */
};

struct alias_options {
    const struct alias_domain *domains; /* copied; the names are kept by pointer */
    size_t domain_count;
    const struct alias_map *addresses;  /* "user@domain" and "@domain" */
    const struct alias_map *recipients; /* "user@domain", without targets */
    const char *postmaster;             /* where a postmaster goes whom nobody names; or NULL */
    char delimiter;                     /* of tags; 0 = there are none */
    unsigned targets_max;               /* of one address */
};

struct alias_rules;

struct alias_rules *alias_rules_new(const struct alias_options *opt); /* the maps are lent for its life */
void alias_rules_free(struct alias_rules *r); /* NULL is fine */

/* The address of <postmaster> without a domain: false if there is none. */
bool alias_rules_postmaster(const struct alias_rules *r, char out[MAIL_ADDRESS_MAX + 1]);

enum alias_verdict {
    ALIAS_FOUND,   /* at least one target was told */
    ALIAS_UNKNOWN, /* no such address here */
    ALIAS_LOOP,
    ALIAS_DEEP,    /* aliases of aliases beyond ALIAS_DEPTH_MAX */
    ALIAS_MANY,    /* more than targets_max */
    ALIAS_DEAD,    /* only for `trouble`: a target of ours that is unknown */
};

#define ALIAS_DEPTH_MAX 32u

struct alias_events {
    /* Each address the message goes to, once. Only before ALIAS_FOUND. */
    void (*target)(void *ctx, struct slice address);
    /* What is wrong inside, by the address where it shows; may be NULL. A dead
     * target beside live ones is left out. */
    void (*trouble)(void *ctx, enum alias_verdict what, struct slice address);
};

/* `address` is canonical, with a domain. One of a foreign domain stands for itself. */
enum alias_verdict alias_resolve(const struct alias_rules *r, struct slice address, const struct alias_events *ev,
                                 void *ctx);

#endif
