/* mail/alias_file.h - files that say who an address stands for. Pure.
 *
 * Four formats, all of lines: one that begins with a blank goes on with the
 * line before it; empty ones and those whose first word begins with "#" are
 * comments, also in the middle of a continued line.
 *
 *   aliases     name: target, target …          as in aliases(5)
 *   virtual     user@domain target, target …    as in Postfix's virtual(5);
 *               @domain target …                all other names of the domain
 *   targets     target, target …                an :include: file
 *   recipients  name-or-address [OK]            as in relay_recipient_maps
 *
 * A target is an address, a name (in the domain of whoever was looked up),
 * "\name" (the same, and no alias any more), "@domain" (the same name there)
 * or :include:/path. Commands and files are no targets of a relay: "|command"
 * and "/file" are refused and told what to do instead. Names are quoted as in
 * "first last". owner-NAME has no meaning: who is told of a failure is the
 * sender.
 */
#ifndef MAIL_ALIAS_FILE_H
#define MAIL_ALIAS_FILE_H

#include "mail/path.h"

enum alias_format { ALIAS_FORMAT_ALIASES, ALIAS_FORMAT_VIRTUAL, ALIAS_FORMAT_TARGETS, ALIAS_FORMAT_RECIPIENTS };

enum alias_item_kind {
    ALIAS_NAME,    /* an entry begins: a local part, an address or "@domain"; in lower case */
    ALIAS_ADDRESS, /* a target: local@domain */
    ALIAS_LOCAL,   /* a target: a local part */
    ALIAS_DOMAIN,  /* a target: "@domain" */
    ALIAS_INCLUDE, /* targets of another file: its path */
    ALIAS_PROBLEM, /* what is wrong with a name or target; text is a sentence without its end */
};

struct alias_item {
    enum alias_item_kind kind;
    struct slice text; /* valid during the call; canonical, domains in A-labels */
    bool final;        /* of a LOCAL or ADDRESS: "\name" */
    unsigned line;     /* from 1 */
};

typedef void alias_item_fn(void *ctx, const struct alias_item *item);

/* An entry whose name is wrong is left out as a whole, a target alone. */
void alias_file_parse(struct slice text, enum alias_format format, alias_item_fn *item, void *ctx);

/* One target by itself. */
void alias_target_parse(struct slice text, unsigned line, alias_item_fn *item, void *ctx);

/* The spelling under which a name is looked up: a local part ("info",
 * "\"a b\""), an address or "@domain", in lower case. NULL, or what is wrong. */
#define ALIAS_NAME_MAX (MAIL_ADDRESS_MAX + 1)
const char *alias_name_normalise(struct slice text, char out[ALIAS_NAME_MAX + 1]);

#endif
