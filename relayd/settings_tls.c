/* relayd/settings_tls.c - certificates: the files the configuration names, and
 * whether a server can work with them. */
#include "relayd/settings_schema.h"

#include "net/tls.h"

#include <time.h>

#define PAIRS_MAX     1024u
#define WARN_BEFORE_S (14 * 24 * 3600)

void settings_take_listen_tls(struct conf *c, const struct conf_stmt *s, void *into)
{
    static const struct {
        const char *name;
        enum settings_tls tls;
    } rows[] = {
        { "none", SETTINGS_TLS_NONE },
        { "optional", SETTINGS_TLS_OPTIONAL },
        { "required", SETTINGS_TLS_REQUIRED },
        { "implicit", SETTINGS_TLS_IMPLICIT },
    };

    for (size_t i = 0; i < countof(rows); i++) {
        if (slice_eq(s->args[0].text, slice_str(rows[i].name)))
            *(enum settings_tls *)into = rows[i].tls;
    }
}

/* ---- files ---- */

/* Only what was read: what was not has its error already. */
static struct slice file_bytes(struct conf *c, enum bundle_kind kind, const char *path)
{
    const struct bundle_entry *e = bundle_find(c->bundle, kind, slice_str(path));

    return e != NULL ? buf_bytes(&e->bytes) : SLICE_EMPTY;
}

/* The parent has checked it, and this process is not to see it. */
static bool withheld(struct conf *c, const char *path)
{
    const struct bundle_entry *e = bundle_find(c->bundle, BUNDLE_SECRET, slice_str(path));

    return e != NULL && e->withheld;
}

static struct slice keep(struct conf *c, struct slice bytes)
{
    return slice_make(pool_dup(c->pool, bytes), bytes.len);
}

/* The leaf may stand in one file and its chain in others. */
void settings_take_certificate(struct conf *c, const struct conf_stmt *s, void *into)
{
    struct settings_pair *pair = into;
    struct buf all = { 0 };

    for (size_t i = 0; i < s->arg_count; i++) {
        const char *path;

        if (s->args[i].comma)
            continue;
        path = conf_path(c, s->args[i].file, s->args[i].text);
        if (pair->certificate == NULL)
            pair->certificate = path;
        buf_add(&all, file_bytes(c, BUNDLE_CERTIFICATE, path));
        buf_add_byte(&all, '\n');
    }
    pair->certificate_pem = keep(c, buf_bytes(&all));
    buf_release(&all);
}

void settings_take_certificate_key(struct conf *c, const struct conf_stmt *s, void *into)
{
    struct settings_pair *pair = into;

    pair->key = conf_path(c, s->args[0].file, s->args[0].text);
    pair->key_pem = keep(c, file_bytes(c, BUNDLE_SECRET, pair->key));
}

void settings_take_client_certificates(struct conf *c, const struct conf_stmt *s, void *into)
{
    const char *path = conf_path(c, s->args[0].file, s->args[0].text);
    struct buf why = { 0 };

    *(struct slice *)into = keep(c, file_bytes(c, BUNDLE_CERTIFICATE, path));
    if (err_failed(tls_ca_check(*(struct slice *)into, &why)))
        conf_error(c, &s->args[0], "%s: %s", path, buf_cstr(&why));
    buf_release(&why);
}

/* ---- pairs ---- */

static void check_pair(struct conf *c, const struct conf_stmt *s, struct settings_pair *pair)
{
    struct tls_pair pem = { pair->certificate_pem, pair->key_pem };
    struct tls_pair_facts facts;
    struct buf why = { 0 };

    if (err_failed(tls_pair_check(&pem, &facts, &why))) {
        conf_error(c, &s->name, "certificate %s with key %s: %s", pair->certificate, pair->key, buf_cstr(&why));
    } else {
        pair->begins_s = facts.begins_s;
        pair->expires_s = facts.expires_s;
        pair->name = pool_dup(c->pool, slice_str(facts.name));
    }
    buf_release(&why);
}

void settings_take_certificates(struct conf *c, const struct conf_stmt *s, void *into)
{
    struct settings_build *b = c->user;
    const struct conf_stmt *certificate = conf_find(s, "certificate");
    const struct conf_stmt *key = conf_find(s, "key");
    struct settings_pair *pair;

    if (b->pairs == NULL)
        b->s->pairs = b->pairs = pool_zero(c->pool, PAIRS_MAX, sizeof *b->pairs);
    if (b->s->pair_count == PAIRS_MAX) {
        conf_error(c, &s->name, "more than %u certificates", PAIRS_MAX);
        return;
    }
    if (certificate == NULL || key == NULL) {
        conf_error(c, &s->name, "\"tls\" has no \"%s\"", certificate == NULL ? "certificate" : "key");
        return;
    }
    pair = &b->pairs[b->s->pair_count++];
    pair->place = (struct settings_place){ .file = s->name.file->shown, .line = s->name.line };
    conf_take_block(c, s, pair);
    if (!certificate->bad && !key->bad && !withheld(c, pair->key))
        check_pair(c, s, pair);
}

/* ---- by the clock ---- */

static bool has_pair(const struct settings *s, const struct settings_pair *pair)
{
    for (size_t i = 0; s != NULL && i < s->pair_count; i++) {
        if (slice_eq(s->pairs[i].certificate_pem, pair->certificate_pem))
            return true;
    }
    return false;
}

static const char *day(int64_t s, char buf[16])
{
    time_t t = (time_t)s;
    struct tm tm;

    gmtime_r(&t, &tm);
    strftime(buf, 16, "%Y-%m-%d", &tm);
    return buf;
}

static void judge(const struct settings_pair *pair, bool is_new, int64_t now_s, struct diagnostics *d)
{
    const char *file = pair->place.file;
    unsigned line = pair->place.line;
    char date[16];

    if (pair->expires_s <= now_s)
        diagnostics_add(d, is_new, file, line, 1, SLICE_EMPTY,
                        "the certificate %s (%s) has expired on %s: clients that look refuse it; renew it",
                        pair->certificate, pair->name, day(pair->expires_s, date));
    else if (pair->begins_s > now_s)
        diagnostics_add(d, is_new, file, line, 1, SLICE_EMPTY,
                        "the certificate %s (%s) is not valid before %s; is the clock right?", pair->certificate,
                        pair->name, day(pair->begins_s, date));
    else if (pair->expires_s - now_s < WARN_BEFORE_S)
        diagnostics_add(d, false, file, line, 1, SLICE_EMPTY,
                        "the certificate %s (%s) expires on %s, in less than two weeks; renew it",
                        pair->certificate, pair->name, day(pair->expires_s, date));
}

void settings_judge_certificates(const struct settings *s, const struct settings *running, uint64_t wall_ms,
                                 struct diagnostics *d)
{
    for (size_t i = 0; i < s->pair_count; i++)
        judge(&s->pairs[i], running != NULL && !has_pair(running, &s->pairs[i]), (int64_t)(wall_ms / SECOND_MS), d);
}
