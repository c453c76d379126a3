/* control/view_dkim.c - documents about DKIM keys. */
#include "control/view_dkim.h"

#include "mail/dkim_record.h"

void view_key_name(const struct control_key *k, struct buf *out)
{
    buf_printf(out, "%s._domainkey.%s", k->selector, k->domain);
}

json_t *view_key(const struct control_key *k)
{
    json_t *out = json_object();
    struct buf name = { 0 };

    json_put_slice(out, "domain", slice_str(k->domain));
    if (k->selector != NULL) {
        view_key_name(k, &name);
        json_put_slice(out, "selector", slice_str(k->selector));
        json_put_slice(out, "name", buf_bytes(&name));
        json_put_slice(out, "path", slice_str(k->path));
    }
    if (k->record != NULL) {
        bool rsa = mail_dkim_record_kind(slice_str(k->record)) == MAIL_DKIM_RSA;

        json_put_slice(out, "algorithm", rsa ? SLICE("rsa-sha256") : SLICE("ed25519-sha256"));
        json_put_slice(out, "record", slice_str(k->record));
    }
    if (k->problem != NULL)
        json_put_slice(out, "problem", slice_str(k->problem));
    buf_release(&name);
    return out;
}

static const char *word_of(enum mail_dkim_match m)
{
    switch (m) {
    case MAIL_DKIM_SAME:
        return "ok";
    case MAIL_DKIM_NO_RECORD:
        return "missing";
    case MAIL_DKIM_OTHER_KEY:
        return "other";
    case MAIL_DKIM_REVOKED:
        return "revoked";
    case MAIL_DKIM_RESTRICTED:
        return "restricted";
    }
    return "unknown";
}

static void put(json_t *key, const char *word, const char *detail)
{
    json_put_slice(key, "dns", slice_str(word));
    json_put_slice(key, "detail", slice_str(detail));
}

/* Verifiers may take any one of several records (RFC 6376 section 3.6.2.2), so
 * only one that stands alone is right. */
static void put_found(json_t *key, const struct control_key *k, const struct control_txt *txt)
{
    enum mail_dkim_match match = MAIL_DKIM_NO_RECORD;
    struct slice rest = buf_bytes(&txt->texts), text;
    unsigned keys = 0;

    while (slice_split(&rest, '\0', &text)) {
        enum mail_dkim_match m = mail_dkim_compare(slice_str(k->record), text);

        if (m == MAIL_DKIM_NO_RECORD)
            continue;
        keys++;
        match = m;
    }
    if (keys > 1)
        put(key, "other", "DNS has several keys at this name; there must be one");
    else if (match == MAIL_DKIM_SAME)
        put(key, "ok", "DNS has the key in use");
    else if (match == MAIL_DKIM_NO_RECORD)
        put(key, "missing", "DNS has a TXT record there that is no DKIM key");
    else {
        struct buf detail = { 0 };

        buf_printf(&detail, "DNS has %s", mail_dkim_match_text(match));
        put(key, word_of(match), buf_cstr(&detail));
        buf_release(&detail);
    }
}

void view_key_dns(json_t *key, const struct control_key *k, const struct control_txt *txt)
{
    struct buf detail = { 0 };

    if (k->record == NULL) {
        put(key, "no_key", k->problem != NULL ? k->problem : "there is no key");
        return;
    }
    switch (txt->state) {
    case CONTROL_TXT_FOUND:
        put_found(key, k, txt);
        break;
    case CONTROL_TXT_NONE:
        put(key, "missing", "DNS has no record there; relayctl dkim prints it");
        break;
    case CONTROL_TXT_UNKNOWN:
        buf_printf(&detail, "DNS could not be asked: %s", txt->detail);
        put(key, "unknown", buf_cstr(&detail));
        break;
    }
    buf_release(&detail);
}
