/* auth/scram_client.c - SCRAM's three messages as a client sees them. */
#include "auth/scram_client.h"

#include "base/base64.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/secret.h"
#include "net/digest.h"

#include <gsasl.h>
#include <stdlib.h>

#define NONCE_BYTES 18u /* 24 letters of base64 */

_Static_assert(SCRAM_KEY_BYTES == DIGEST_BYTES, "keys are digests");

struct scram_client {
    struct buf input; /* of c=: the GS2 header, and the binding */
    size_t header_len;
    struct buf bare;                    /* client-first-message-bare */
    size_t nonce_at;                    /* in it, to its end */
    struct buf server_first;            /* empty until it was understood */
    size_t nonce_len;                   /* in it, behind "r=" */
    uint8_t signature[SCRAM_KEY_BYTES]; /* the server's, to come */
    bool proven;                        /* it is known */
};

/* "=" and "," end a value (RFC 5802 section 5.1, saslname). */
static void add_name(struct buf *out, const char *name)
{
    for (; *name != '\0'; name++) {
        if (*name == '=')
            buf_add_str(out, "=3D");
        else if (*name == ',')
            buf_add_str(out, "=2C");
        else
            buf_add_byte(out, *name);
    }
}

struct scram_client *scram_client_new(const char *user, enum scram_bind bind, struct slice binding)
{
    static const char *const headers[] = { [SCRAM_BIND_NONE] = "n,,",
                                           [SCRAM_BIND_COULD] = "y,,",
                                           [SCRAM_BIND_USED] = "p=tls-exporter,," };
    struct scram_client *s;
    uint8_t nonce[NONCE_BYTES];
    char *name = NULL;

    if (gsasl_saslprep(user, GSASL_ALLOW_UNASSIGNED, &name, NULL) != GSASL_OK)
        return NULL;
    s = mem_new(struct scram_client);
    buf_add_str(&s->input, headers[bind]);
    s->header_len = buf_len(&s->input);
    if (bind == SCRAM_BIND_USED)
        buf_add(&s->input, binding);
    buf_add_str(&s->bare, "n=");
    add_name(&s->bare, name);
    buf_add_str(&s->bare, ",r=");
    s->nonce_at = buf_len(&s->bare);
    random_secret(nonce, sizeof nonce);
    base64_add(&s->bare, slice_make(nonce, sizeof nonce));
    gsasl_free(name);
    return s;
}

void scram_client_free(struct scram_client *s)
{
    if (s == NULL)
        return;
    buf_wipe(&s->input);
    buf_release(&s->bare);
    buf_release(&s->server_first);
    secret_wipe(s->signature, sizeof s->signature);
    free(s);
}

void scram_client_first(const struct scram_client *s, struct buf *out)
{
    buf_add(out, slice_head(buf_bytes(&s->input), s->header_len));
    buf_add(out, buf_bytes(&s->bare));
}

/* "NAME=value" up to the next comma; the attributes have their order. */
static bool take(struct slice *message, char name, struct slice *value)
{
    struct slice part;

    if (!slice_split(message, ',', &part) || part.len < 2 || part.ptr[0] != name ||
        part.ptr[1] != '=')
        return false;
    *value = slice_from(part, 2);
    return true;
}

bool scram_client_challenge(struct scram_client *s, struct slice message,
                            struct scram_challenge *out)
{
    struct slice ours = slice_from(buf_bytes(&s->bare), s->nonce_at), rest = message, nonce, count;

    /* "m=" in front would be an extension that must be understood, and fails here. */
    if (!take(&rest, 'r', &nonce) || !take(&rest, 's', &out->salt) || !take(&rest, 'i', &count))
        return false;
    if (nonce.len <= ours.len || !slice_eq(slice_head(nonce, ours.len), ours))
        return false;
    if (out->salt.len == 0 || !slice_u64(count, &out->iterations) || out->iterations == 0)
        return false;
    buf_clear(&s->server_first);
    buf_add(&s->server_first, message);
    s->nonce_len = nonce.len;
    return true;
}

bool scram_salt(const char *password, const struct scram_challenge *c, uint8_t out[SCRAM_KEY_BYTES])
{
    char client_key[SCRAM_KEY_BYTES], server_key[SCRAM_KEY_BYTES], stored_key[SCRAM_KEY_BYTES];
    struct buf salt = { 0 };
    int rc = GSASL_BASE64_ERROR;

    if (base64_decode(c->salt, &salt) && buf_len(&salt) > 0)
        rc = gsasl_scram_secrets_from_password(GSASL_HASH_SHA256, password, (unsigned)c->iterations,
                                               buf_cstr(&salt), buf_len(&salt), (char *)out,
                                               client_key, server_key, stored_key);
    secret_wipe(client_key, sizeof client_key);
    secret_wipe(server_key, sizeof server_key);
    secret_wipe(stored_key, sizeof stored_key);
    buf_release(&salt);
    return rc == GSASL_OK;
}

/* AuthMessage of RFC 5802 section 3. */
static void sign(const struct scram_client *s, struct slice final, const char *key,
                 uint8_t out[SCRAM_KEY_BYTES])
{
    const struct slice parts[] = { buf_bytes(&s->bare), SLICE(","), buf_bytes(&s->server_first),
                                   SLICE(","), final };

    digest_hmac(slice_make(key, SCRAM_KEY_BYTES), parts, countof(parts), out);
}

void scram_client_prove(struct scram_client *s, const uint8_t salted[SCRAM_KEY_BYTES],
                        struct buf *out)
{
    char client_key[SCRAM_KEY_BYTES], server_key[SCRAM_KEY_BYTES], stored_key[SCRAM_KEY_BYTES];
    uint8_t proof[SCRAM_KEY_BYTES];
    struct buf final = { 0 };

    /* Fails for a hash that it does not know, and this one made `salted`. */
    if (gsasl_scram_secrets_from_salted_password(GSASL_HASH_SHA256, (const char *)salted,
                                                 client_key, server_key, stored_key) != GSASL_OK)
        abort();
    buf_add_str(&final, "c=");
    base64_add(&final, buf_bytes(&s->input));
    buf_add_str(&final, ",r=");
    buf_add(&final, slice_head(slice_from(buf_bytes(&s->server_first), 2), s->nonce_len));
    sign(s, buf_bytes(&final), stored_key, proof);
    for (size_t i = 0; i < sizeof proof; i++)
        proof[i] ^= (uint8_t)client_key[i];
    sign(s, buf_bytes(&final), server_key, s->signature);
    s->proven = true;
    buf_add(out, buf_bytes(&final));
    buf_add_str(out, ",p=");
    base64_add(out, slice_make(proof, sizeof proof));
    secret_wipe(client_key, sizeof client_key);
    secret_wipe(server_key, sizeof server_key);
    secret_wipe(stored_key, sizeof stored_key);
    secret_wipe(proof, sizeof proof);
    buf_wipe(&final);
}

bool scram_client_believes(const struct scram_client *s, struct slice message)
{
    struct buf signature = { 0 };
    struct slice text;
    bool good = s->proven && take(&message, 'v', &text) && base64_decode(text, &signature) &&
                secret_equal(buf_bytes(&signature), slice_make(s->signature, sizeof s->signature));

    buf_release(&signature);
    return good;
}
