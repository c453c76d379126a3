/* relayd/settings_dkim.c - what a domain signs with. */
#include "relayd/settings_dkim.h"

#include "auth/signer.h"
#include "base/mem.h"
#include "mail/dkim_record.h"
#include "net/keypair.h"

#include <stdlib.h>

#define RSA_BITS_MIN 1024u /* RFC 8301 section 3.2 */
#define KEY_SUFFIX   "._domainkey."

/* ---- the public half ------------------------------------------------------------ */

static const char *publish(struct bundle *b, struct slice pem, struct buf *record)
{
    struct keypair_public pub;
    struct err e = keypair_read(pem, &pub);
    const char *problem = err_failed(e) ? e.what : NULL;

    bundle_trouble(b, e.sys);
    if (problem == NULL && pub.kind == KEYPAIR_RSA && pub.bits < RSA_BITS_MIN)
        problem = "an RSA key of less than 1024 bits is not accepted by anybody";
    if (problem == NULL)
        mail_dkim_record_format(pub.kind == KEYPAIR_RSA ? MAIL_DKIM_RSA : MAIL_DKIM_ED25519, buf_bytes(&pub.base64),
                                record);
    buf_release(&pub.base64);
    return problem;
}

void settings_publish_keys(struct bundle *b)
{
    size_t count = b->count; /* grows meanwhile */

    for (size_t i = 0; i < count; i++) {
        const char *path = b->entries[i].path;
        const char *problem = b->entries[i].problem;
        struct buf record = { 0 };

        if (b->entries[i].kind != BUNDLE_KEY || bundle_find(b, BUNDLE_PUBLIC, slice_str(path)) != NULL)
            continue;
        if (problem == NULL)
            problem = publish(b, buf_bytes(&b->entries[i].bytes), &record);
        b->entries[i].readers = CONF_FOR(PROCESS_SIGN);
        if (err_failed(bundle_add(b, BUNDLE_PUBLIC, path, buf_bytes(&record), problem)))
            b->entries[i].problem = mem_str("there are too many files"); /* else nobody would miss it */
        buf_release(&record);
    }
}

/* ---- into settings --------------------------------------------------------------- */

static void fill_key(struct settings *s, const struct bundle *b, struct settings_dkim *k)
{
    const struct bundle_entry *public = bundle_find(b, BUNDLE_PUBLIC, slice_str(k->path));
    const struct bundle_entry *private = bundle_find(b, BUNDLE_KEY, slice_str(k->path));

    if (public == NULL || public->problem != NULL) {
        k->problem = pool_printf(s->pool, "%s: %s", k->path,
                                 public != NULL ? public->problem : "it is not part of this configuration");
        return;
    }
    k->record = pool_dup(s->pool, buf_bytes(&public->bytes));
    k->kind = mail_dkim_record_kind(buf_bytes(&public->bytes));
    if (private != NULL && private->problem == NULL && !private->withheld)
        k->pem = pool_dup(s->pool, buf_bytes(&private->bytes));
}

void settings_take_dkim(struct conf *c, const struct conf_stmt *s, void *into)
{
    struct settings_domain *domain = into;
    struct settings_build *b = c->user;
    struct settings_dkim *k;

    if (slice_eq(s->args[0].text, SLICE("auto"))) {
        domain->dkim_auto = true;
        return;
    }
    for (size_t i = 0; i < domain->dkim_count; i++) {
        if (slice_eq_nocase(slice_str(domain->dkim[i].selector), s->args[1].text)) {
            conf_error(c, &s->args[1], "a second key with this selector");
            return;
        }
    }
    if (domain->dkim_count == SIGN_KEYS_MAX) {
        conf_error(c, &s->name, "more than %u keys of one domain", SIGN_KEYS_MAX);
        return;
    }
    if (domain->dkim == NULL)
        domain->dkim = pool_zero(c->pool, SIGN_KEYS_MAX, sizeof *domain->dkim);
    k = &domain->dkim[domain->dkim_count++];
    k->selector = pool_dup(c->pool, s->args[1].text);
    k->path = conf_path(c, s->args[3].file, s->args[3].text);
    k->place = (struct settings_place){ .file = s->name.file->shown, .line = s->name.line };
    fill_key(b->s, c->bundle, k);
    if (k->problem != NULL && bundle_find(c->bundle, BUNDLE_PUBLIC, slice_str(k->path)) != NULL)
        conf_warning_at(c->diags, &s->args[3], "mail from this domain can't be signed and waits: %s", k->problem);
}

static char *keys_path(const struct settings *s, const char *domain)
{
    struct buf path = { 0 };

    buf_printf(&path, "%s/keys/%s", s->state_dir, domain);
    return buf_detach(&path);
}

/* "…/SELECTOR._domainkey.DOMAIN.pem" */
static struct slice selector_of(struct slice path, const char *domain)
{
    struct buf tail = { 0 };
    struct slice name = path;

    buf_printf(&tail, KEY_SUFFIX "%s.pem", domain);
    while (slice_find(name, '/') < name.len)
        name = slice_from(name, slice_find(name, '/') + 1);
    if (slice_ends_nocase(name, buf_bytes(&tail)))
        name = slice_head(name, name.len - buf_len(&tail));
    buf_release(&tail);
    return name;
}

static void fill_auto(struct settings *s, const struct bundle *b, struct diagnostics *d, struct settings_domain *domain)
{
    char *path = keys_path(s, domain->name);
    const struct bundle_entry *list = bundle_find(b, BUNDLE_LIST, slice_str(path));
    struct slice names = list != NULL ? buf_bytes(&list->bytes) : SLICE_EMPTY, name;

    free(path);
    if (list == NULL)
        return; /* they were not looked for: by relayd -n, or before they are */
    if (list->problem != NULL) {
        domain->dkim_problem = pool_dup(s->pool, slice_str(list->problem));
        diagnostics_add(d, false, domain->place.file, domain->place.line, 0, SLICE_EMPTY,
                        "mail from %s can't be signed and waits: %s", domain->name, domain->dkim_problem);
    }
    if (domain->dkim == NULL)
        domain->dkim = pool_zero(s->pool, SIGN_KEYS_MAX, sizeof *domain->dkim);
    while (slice_split(&names, '\0', &name) && domain->dkim_count < SIGN_KEYS_MAX) {
        struct settings_dkim *k = &domain->dkim[domain->dkim_count++];

        k->path = pool_dup(s->pool, name);
        k->selector = pool_dup(s->pool, selector_of(name, domain->name));
        k->place = domain->place;
        fill_key(s, b, k);
        if (k->problem != NULL)
            diagnostics_add(d, false, domain->place.file, domain->place.line, 0, SLICE_EMPTY,
                            "mail from %s can't be signed and waits: %s", domain->name, k->problem);
    }
}

void settings_fill_dkim(struct settings *s, const struct bundle *b, struct diagnostics *d)
{
    for (size_t i = 0; i < s->domain_count; i++) {
        struct settings_domain *domain = (struct settings_domain *)&s->domains[i];

        if (domain->dkim_auto)
            fill_auto(s, b, d, domain);
    }
}

bool settings_has_dkim(const struct settings *s)
{
    for (size_t i = 0; i < s->domain_count; i++)
        if (s->domains[i].dkim_auto || s->domains[i].dkim_count != 0)
            return true;
    return false;
}

static void each_key_of(const struct settings_domain *domain, control_key_visitor *visit, void *ctx)
{
    for (size_t i = 0; i < domain->dkim_count; i++) {
        const struct settings_dkim *k = &domain->dkim[i];

        visit(ctx, &(struct control_key){ domain->name, k->selector, k->path, k->record, k->problem });
    }
    if (domain->dkim_problem != NULL)
        visit(ctx, &(struct control_key){ .domain = domain->name, .problem = domain->dkim_problem });
    else if (domain->dkim_auto && domain->dkim_count == 0)
        visit(ctx, &(struct control_key){ .domain = domain->name,
                                          .problem = "its keys are made when relayd starts, or can't be seen by you" });
}

void settings_each_key(const struct settings *s, const char *domain, control_key_visitor *visit, void *ctx)
{
    for (size_t i = 0; i < s->domain_count; i++)
        if (domain == NULL || strcmp(domain, s->domains[i].name) == 0)
            each_key_of(&s->domains[i], visit, ctx);
}
