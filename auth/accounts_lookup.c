/* auth/accounts_lookup.c - a name to an account: of the store, else of the
 * file, else whatever the command says. */
#include "auth/accounts_inside.h"

#include "base/log.h"
#include "net/digest.h"

#include <string.h>

static void unreadable(const char *key, struct err e)
{
    char text[256];

    log_error("accounts", "%s can't be read: %s%s", key, err_text(e, text, sizeof text),
              e.kind == ERR_CORRUPT ? "; relayctl user delete and add makes it anew" : "");
}

void account_find(struct accounts_server *s, const char *name, struct account *out)
{
    const struct passwd_table *table;
    const char *domain = s->config->c.domain;
    struct err e;

    *out = (struct account){ .source = ACCOUNT_NONE, .hash = "" };
    if (!user_address(slice_str(name), domain, out->address) || !user_key(slice_str(name), domain, out->key)) {
        out->address[0] = out->key[0] = '\0';
        return;
    }
    e = users_get(s->users, out->key, &out->user);
    if (!err_failed(e)) {
        out->source = ACCOUNT_STORE;
        out->hash = out->user.hash;
        strcpy(out->address, out->user.address);
        return;
    }
    if (e.kind != ERR_NOT_FOUND) { /* it may say "disabled": the other sources are not asked */
        unreadable(out->key, e);
        out->source = ACCOUNT_UNREADABLE;
        return;
    }
    table = s->file != NULL ? passwd_file_table(s->file) : NULL;
    out->hash = table != NULL ? passwd_find(table, out->key) : NULL;
    if (out->hash != NULL) {
        out->source = ACCOUNT_FILE;
        if (strcmp(out->hash, PASSWD_LOCKED) == 0)
            out->hash = "";
    } else {
        out->source = s->config->c.command != NULL ? ACCOUNT_COMMAND : ACCOUNT_NONE;
        out->hash = s->config->c.command != NULL ? ACCOUNT_COMMAND_HASH : "";
    }
}

void account_release(struct account *a)
{
    user_release(&a->user);
    a->hash = "";
}

const char *account_refusal(const struct account *a, const char *service)
{
    unsigned bit;

    if (a->source != ACCOUNT_STORE)
        return NULL;
    if (a->user.disabled)
        return "the user is disabled";
    if (!user_service_parse(slice_str(service), &bit) || (a->user.services & bit) != bit)
        return "the user is not allowed this service";
    return NULL;
}

static void from_secret(struct accounts_server *s, const char *what, const char *name, uint8_t *out, size_t len)
{
    const struct slice parts[] = { slice_str(what), slice_str(name) };
    uint8_t digest[DIGEST_BYTES];

    digest_hmac(users_secret(s->users), parts, countof(parts), digest);
    memcpy(out, digest, len);
}

void account_scram(struct accounts_server *s, const struct account *a, const char *name, struct scram_keys *out)
{
    const char *who = a->key[0] != '\0' ? a->key : name;

    if (a->source == ACCOUNT_STORE && a->user.scram.iterations != 0) {
        *out = a->user.scram;
        return;
    }
    out->iterations = PASSWORD_ITERATIONS;
    from_secret(s, "salt ", who, out->salt, sizeof out->salt);
    from_secret(s, "stored key ", who, out->stored_key, sizeof out->stored_key);
    from_secret(s, "server key ", who, out->server_key, sizeof out->server_key);
}

static unsigned rate_of(uint32_t own, unsigned configured)
{
    return own == USER_RATE_UNLIMITED ? 0 : own != USER_RATE_DEFAULT ? own : configured;
}

void account_rates(struct accounts_server *s, const struct account *a, unsigned *messages, unsigned *recipients)
{
    bool stored = a->source == ACCOUNT_STORE;

    *messages = rate_of(stored ? a->user.messages_per_hour : USER_RATE_DEFAULT, s->config->c.messages_per_hour);
    *recipients = rate_of(stored ? a->user.recipients_per_hour : USER_RATE_DEFAULT, s->config->c.recipients_per_hour);
}
