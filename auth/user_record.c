/* auth/user_record.c - a user as bytes, and the spellings of his name. */
#include "auth/users.h"

#include "base/codec.h"
#include "base/mem.h"
#include "mail/path.h"

#include <stdlib.h>

#define USER_VERSION 1u
#define APP_VERSION  1u

enum { USER_DISABLED = 1, USER_SENDER_ANY = 2, USER_SENDER_OWN = 4 };

void user_release(struct user *u)
{
    for (size_t i = 0; i < u->sender_count; i++)
        free(u->senders[i]);
    free(u->senders);
    free(u->address);
    free(u->hash);
    *u = (struct user){ 0 };
}

void user_app_release(struct user_app *a)
{
    free(a->name);
    *a = (struct user_app){ 0 };
}

void user_put(struct buf *b, const struct user *u)
{
    size_t start = buf_len(b);

    codec_put_u8(b, USER_VERSION);
    codec_put_u8(b, (uint8_t)((u->disabled ? USER_DISABLED : 0) | (u->sender_any ? USER_SENDER_ANY : 0) |
                              (u->sender_own ? USER_SENDER_OWN : 0)));
    codec_put_u32(b, u->services);
    codec_put_u32(b, u->messages_per_hour);
    codec_put_u32(b, u->recipients_per_hour);
    codec_put_u64(b, u->created_wall_ms);
    codec_put_u64(b, u->changed_wall_ms);
    codec_put_bytes(b, slice_str(u->address));
    codec_put_bytes(b, slice_str(u->hash));
    codec_put_u32(b, u->scram.iterations);
    buf_add(b, slice_make(u->scram.salt, sizeof u->scram.salt));
    buf_add(b, slice_make(u->scram.stored_key, sizeof u->scram.stored_key));
    buf_add(b, slice_make(u->scram.server_key, sizeof u->scram.server_key));
    codec_put_u8(b, (uint8_t)u->sender_count);
    for (size_t i = 0; i < u->sender_count; i++)
        codec_put_bytes(b, slice_str(u->senders[i]));
    codec_seal(b, start);
}

static void take(struct codec_reader *r, void *to, size_t len)
{
    if (r->fault || r->rest.len < len) {
        r->fault = true;
        return;
    }
    memcpy(to, r->rest.ptr, len);
    r->rest = slice_from(r->rest, len);
}

static char *take_text(struct codec_reader *r, size_t max)
{
    struct slice s = codec_bytes(r);

    if (s.len > max || (s.len != 0 && memchr(s.ptr, '\0', s.len) != NULL))
        r->fault = true;
    return r->fault ? mem_str("") : mem_dup(s.ptr, s.len);
}

static void take_senders(struct codec_reader *r, struct user *out)
{
    size_t count = codec_u8(r);

    if (count > USER_SENDERS_MAX)
        r->fault = true;
    if (r->fault)
        return;
    out->senders = mem_zero(count, sizeof *out->senders);
    for (size_t i = 0; i < count; i++)
        out->senders[out->sender_count++] = take_text(r, USER_ADDRESS_MAX);
}

struct err user_get(struct slice record, struct user *out)
{
    struct codec_reader r;
    struct err e = codec_open(record, &r);
    uint8_t flags;

    *out = (struct user){ 0 };
    if (err_failed(e))
        return e;
    if (codec_u8(&r) != USER_VERSION)
        return err_make(ERR_VERSION, "user record: written by another release");
    flags = codec_u8(&r);
    out->disabled = (flags & USER_DISABLED) != 0;
    out->sender_any = (flags & USER_SENDER_ANY) != 0;
    out->sender_own = (flags & USER_SENDER_OWN) != 0;
    out->services = codec_u32(&r);
    out->messages_per_hour = codec_u32(&r);
    out->recipients_per_hour = codec_u32(&r);
    out->created_wall_ms = codec_u64(&r);
    out->changed_wall_ms = codec_u64(&r);
    out->address = take_text(&r, USER_ADDRESS_MAX);
    out->hash = take_text(&r, PASSWORD_HASH_MAX - 1);
    out->scram.iterations = codec_u32(&r);
    take(&r, out->scram.salt, sizeof out->scram.salt);
    take(&r, out->scram.stored_key, sizeof out->scram.stored_key);
    take(&r, out->scram.server_key, sizeof out->scram.server_key);
    take_senders(&r, out);
    if (!r.fault && r.rest.len == 0)
        return ERR_OK;
    user_release(out);
    return err_make(ERR_CORRUPT, "user record");
}

void user_app_put(struct buf *b, const struct user_app *a)
{
    size_t start = buf_len(b);

    codec_put_u8(b, APP_VERSION);
    codec_put_u64(b, a->created_wall_ms);
    codec_put_bytes(b, slice_str(a->name));
    buf_add(b, slice_make(a->salt, sizeof a->salt));
    buf_add(b, slice_make(a->digest, sizeof a->digest));
    codec_seal(b, start);
}

struct err user_app_get(struct slice record, struct user_app *out)
{
    struct codec_reader r;
    struct err e = codec_open(record, &r);

    *out = (struct user_app){ 0 };
    if (err_failed(e))
        return e;
    if (codec_u8(&r) != APP_VERSION)
        return err_make(ERR_VERSION, "application password record: written by another release");
    out->created_wall_ms = codec_u64(&r);
    out->name = take_text(&r, USER_APP_NAME_MAX);
    take(&r, out->salt, sizeof out->salt);
    take(&r, out->digest, sizeof out->digest);
    if (!r.fault && r.rest.len == 0)
        return ERR_OK;
    user_app_release(out);
    return err_make(ERR_CORRUPT, "application password record");
}

/* ---- names ------------------------------------------------------------------------------ */

bool user_address(struct slice name, const char *domain, char out[USER_ADDRESS_MAX + 1])
{
    char ascii[MAIL_DOMAIN_MAX + 1];
    struct buf full = { 0 };
    struct mail_path path;
    bool good = false;

    if (name.len == 0 || name.len > USER_ADDRESS_MAX)
        return false;
    buf_add(&full, name);
    if (slice_find(name, '@') == name.len && domain != NULL)
        buf_printf(&full, "@%s", domain);
    if (mail_address_parse(buf_bytes(&full), MAIL_PATH_UTF8_OK, &path) == MAIL_PATH_OK && !path.literal &&
        path.len > path.local_len && mail_domain_to_ascii(mail_path_domain(&path), ascii) &&
        path.local_len + 1 + strlen(ascii) <= USER_ADDRESS_MAX) {
        memcpy(out, path.text, path.local_len);
        out[path.local_len] = '@';
        strcpy(out + path.local_len + 1, ascii);
        good = true;
    }
    buf_release(&full);
    return good;
}

bool user_key(struct slice name, const char *domain, char out[USER_ADDRESS_MAX + 1])
{
    if (!user_address(name, domain, out))
        return false;
    for (char *p = out; *p != '\0'; p++)
        *p = ascii_lower(*p);
    return true;
}

static const struct {
    const char *name;
    unsigned bit;
} services[] = { { "smtp", USER_SMTP }, { "imap", USER_IMAP }, { "pop3", USER_POP3 } };

const char *user_service_names(unsigned bits, char out[32])
{
    size_t at = 0;

    out[0] = '\0';
    for (size_t i = 0; i < countof(services); i++) {
        if ((bits & services[i].bit) == 0)
            continue;
        if (at != 0)
            out[at++] = ',';
        strcpy(out + at, services[i].name);
        at += strlen(services[i].name);
    }
    return out;
}

bool user_service_parse(struct slice names, unsigned *bits)
{
    struct slice name;

    *bits = 0;
    if (slice_eq(names, SLICE("all")))
        *bits = USER_ALL_SERVICES;
    if (slice_eq(names, SLICE("all")) || slice_eq(names, SLICE("none")))
        return true;
    while (slice_split(&names, ',', &name)) {
        size_t i = 0;

        while (i < countof(services) && !slice_eq(slice_trim(name), slice_str(services[i].name)))
            i++;
        if (i == countof(services))
            return false;
        *bits |= services[i].bit;
    }
    return *bits != 0;
}
