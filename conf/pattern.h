/* conf/pattern.h - what arguments a directive takes, written as a pattern.
 *
 *   keyword      itself                 ( a | b )   one of them
 *   TYPE         a value of that type   [ a ]       perhaps
 *   TYPE(1..9)   and within a range     { a }       any number of times
 *   ,            a comma
 *
 * The first word decides every choice, so keywords stand before types. The
 * same text is shown to people as the directive's usage.
 */
#ifndef CONF_PATTERN_H
#define CONF_PATTERN_H

#include "conf/parse.h"

struct conf_type {
    const char *name; /* as in patterns, capitals: "DURATION" */
    const char *noun; /* "a duration such as 30s or 5m" */
    bool (*valid)(struct slice text, const char **why);             /* one of */
    bool (*measure)(struct slice text, uint64_t *out, const char **why); /* these two */
};

struct conf_pattern;

/* The pattern must be right: it is ours. types, besides those below, ends
 * with a row without name. */
struct conf_pattern *conf_pattern_compile(const char *text, const struct conf_type *types, struct pool *pool);

/* Called for each word that fills a TYPE. False: it gave a message itself. */
typedef bool conf_pattern_seen(void *ctx, const struct conf_type *type, const struct conf_word *word);

/* True when the statement's arguments fit; else one message is given. */
bool conf_pattern_match(const struct conf_pattern *pattern, const struct conf_stmt *s, struct diagnostics *d,
                        conf_pattern_seen *seen, void *ctx);

/* The pattern is one TYPE and nothing else. */
bool conf_pattern_is_single(const struct conf_pattern *pattern);

/* NUMBER DURATION SIZE RATE SWITCH PATH SECRET SECRET_FILE KEYFILE WORD TEXT NAME */
extern const struct conf_type conf_types[];

#endif
