/* auth/sasl.c - libgsasl, wrapped. */
#include "auth/sasl.h"

#include "base/base64.h"
#include "base/mem.h"
#include "base/secret.h"

#include <errno.h>
#include <gsasl.h>
#include <stdio.h>
#include <stdlib.h>

struct sasl {
    Gsasl *lib;
};

static const struct mechanism {
    const char *name;
    bool client_first, password, scram; /* client_first: its first word says something */
} mechanisms[] = {
    { "PLAIN", true, true, false },
    { "LOGIN", false, true, false },
    { "SCRAM-SHA-256", true, false, true },
    { "SCRAM-SHA-256-PLUS", true, false, true },
    { "EXTERNAL", true, false, false },
};

struct sasl_session {
    const struct mechanism *mechanism;
    Gsasl_session *lib;
    struct buf binding; /* base64 */
    char *external;
    sasl_keys *keys;
    void *ctx;
    bool keys_given;
    unsigned steps;
    bool captured; /* PLAIN, LOGIN: the library has asked us to verify */
    bool proven;   /* SCRAM: the last word is with the client, who answers with nothing */
    char *challenge;
    size_t challenge_len;
    char *authid, *authzid;
    struct buf password;
};

static const struct mechanism *find(const char *name)
{
    for (size_t i = 0; i < countof(mechanisms); i++)
        if (slice_eq_nocase(slice_str(name), slice_str(mechanisms[i].name)))
            return &mechanisms[i];
    return NULL;
}

const char *sasl_mechanism(const char *name)
{
    const struct mechanism *m = find(name);

    return m != NULL ? m->name : NULL;
}

bool sasl_sends_password(const char *mechanism)
{
    const struct mechanism *m = find(mechanism);

    return m != NULL && m->password;
}

/* ---- what the library asks ----------------------------------------------------------------- */

static void set_base64(Gsasl_session *lib, Gsasl_property prop, const uint8_t *bytes, size_t len)
{
    struct buf text = { 0 };

    base64_add(&text, slice_make(bytes, len));
    gsasl_property_set(lib, prop, buf_cstr(&text));
    buf_wipe(&text);
}

static int give_keys(struct sasl_session *s)
{
    const char *authid = gsasl_property_fast(s->lib, GSASL_AUTHID);
    struct scram_keys keys;
    char number[16];

    if (s->keys_given || authid == NULL)
        return GSASL_NO_CALLBACK;
    s->keys_given = true;
    s->keys(s->ctx, authid, &keys);
    snprintf(number, sizeof number, "%u", keys.iterations);
    gsasl_property_set(s->lib, GSASL_SCRAM_ITER, number);
    set_base64(s->lib, GSASL_SCRAM_SALT, keys.salt, sizeof keys.salt);
    set_base64(s->lib, GSASL_SCRAM_STOREDKEY, keys.stored_key, sizeof keys.stored_key);
    set_base64(s->lib, GSASL_SCRAM_SERVERKEY, keys.server_key, sizeof keys.server_key);
    secret_wipe(&keys, sizeof keys);
    return GSASL_OK;
}

static char *property_copy(Gsasl_session *lib, Gsasl_property prop)
{
    const char *text = gsasl_property_fast(lib, prop);

    return mem_str(text != NULL ? text : "");
}

/* The verdict comes later; for the library it is always good. */
static int capture(struct sasl_session *s)
{
    const char *password = gsasl_property_fast(s->lib, GSASL_PASSWORD);

    free(s->authid);
    free(s->authzid);
    s->authid = property_copy(s->lib, GSASL_AUTHID);
    s->authzid = property_copy(s->lib, GSASL_AUTHZID);
    if (password != NULL) {
        buf_reserve(&s->password, strlen(password) + 1);
        buf_add_str(&s->password, password);
    }
    gsasl_property_set(s->lib, GSASL_PASSWORD, "");
    s->captured = true;
    return GSASL_OK;
}

static int callback(Gsasl *lib, Gsasl_session *session, Gsasl_property prop)
{
    struct sasl_session *s = session != NULL ? gsasl_session_hook_get(session) : NULL;

    if (s == NULL)
        return GSASL_NO_CALLBACK;
    switch (prop) {
    case GSASL_CB_TLS_EXPORTER:
        if (buf_len(&s->binding) == 0)
            return GSASL_NO_CALLBACK;
        return gsasl_property_set(session, prop, buf_cstr(&s->binding));
    case GSASL_SCRAM_ITER:
    case GSASL_SCRAM_SALT:
    case GSASL_SCRAM_STOREDKEY:
    case GSASL_SCRAM_SERVERKEY:
        return give_keys(s);
    case GSASL_VALIDATE_SIMPLE:
        return capture(s);
    case GSASL_VALIDATE_EXTERNAL:
        return s->external != NULL ? capture(s) : GSASL_AUTHENTICATION_ERROR;
    default:
        return GSASL_NO_CALLBACK; /* GSASL_PASSWORD above all: none is known in the clear */
    }
}

struct err sasl_new(struct sasl **out)
{
    struct sasl *s = mem_new(struct sasl);
    int rc = gsasl_init(&s->lib);

    if (rc != GSASL_OK) {
        free(s);
        return err_make(ERR_SYSTEM, "start libgsasl");
    }
    gsasl_callback_set(s->lib, callback);
    *out = s;
    return ERR_OK;
}

void sasl_free(struct sasl *s)
{
    if (s == NULL)
        return;
    gsasl_done(s->lib);
    free(s);
}

/* ---- a session ------------------------------------------------------------------------------- */

struct err sasl_begin(struct sasl *s, const char *mechanism, struct slice binding, const char *external,
                      sasl_keys *keys, void *ctx, struct sasl_session **out)
{
    struct sasl_session *n = mem_new(struct sasl_session);
    int rc;

    n->mechanism = find(mechanism);
    n->keys = keys;
    n->ctx = ctx;
    n->external = external != NULL ? mem_str(external) : NULL;
    if (binding.len != 0)
        base64_add(&n->binding, binding);
    rc = n->mechanism != NULL ? gsasl_server_start(s->lib, n->mechanism->name, &n->lib) : GSASL_UNKNOWN_MECHANISM;
    if (rc != GSASL_OK) {
        n->lib = NULL;
        sasl_end(n);
        return err_make(ERR_NOT_FOUND, "SASL mechanism");
    }
    gsasl_session_hook_set(n->lib, n);
    *out = n;
    return ERR_OK;
}

static void drop_challenge(struct sasl_session *s)
{
    if (s->challenge != NULL)
        gsasl_free(s->challenge);
    s->challenge = NULL;
    s->challenge_len = 0;
}

void sasl_end(struct sasl_session *s)
{
    if (s == NULL)
        return;
    drop_challenge(s);
    if (s->lib != NULL)
        gsasl_finish(s->lib);
    buf_wipe(&s->password);
    buf_release(&s->binding);
    free(s->authid);
    free(s->authzid);
    free(s->external);
    free(s);
}

static void failed(struct sasl_step *out, const char *why)
{
    *out = (struct sasl_step){ .state = SASL_FAILED, .authid = "", .authzid = "", .why = why };
}

/* What some clients look for, word for word. */
static struct slice login_challenge(struct slice given)
{
    if (slice_eq(given, SLICE("User Name")))
        return SLICE("Username:");
    if (slice_eq(given, SLICE("Password")))
        return SLICE("Password:");
    return given;
}

/* "y" says: the client can bind, and believes that the server can't. When we
 * offered -PLUS somebody has struck it from our list (RFC 5802 section 6). */
static bool is_downgraded(const struct sasl_session *s, struct slice response)
{
    return s->mechanism->scram && s->steps == 1 && buf_len(&s->binding) != 0 && response.len > 0 &&
           response.ptr[0] == 'y';
}

static void ended(struct sasl_session *s, struct sasl_step *out)
{
    if (s->mechanism->scram && s->authid == NULL) {
        s->authid = property_copy(s->lib, GSASL_AUTHID);
        s->authzid = property_copy(s->lib, GSASL_AUTHZID);
    }
    if (s->mechanism->scram && s->challenge_len != 0 && !s->proven) {
        s->proven = true; /* SMTP has no data with success: RFC 4954 section 4 */
        *out = (struct sasl_step){ .state = SASL_CHALLENGE, .challenge = slice_make(s->challenge, s->challenge_len) };
        return;
    }
    if (!s->mechanism->scram && !s->captured) {
        failed(out, "nothing was claimed");
        return;
    }
    *out = (struct sasl_step){
        .state = s->mechanism->password ? SASL_VERIFY : SASL_PROVEN,
        .authid = s->external != NULL && !s->mechanism->scram && !s->mechanism->password ? s->external : s->authid,
        .authzid = s->authzid,
        .password = buf_bytes(&s->password),
    };
}

static void library_step(struct sasl_session *s, struct slice response, struct sasl_step *out)
{
    int rc, sys;

    drop_challenge(s);
    errno = 0;
    rc = gsasl_step(s->lib, response.ptr != NULL ? response.ptr : "", response.len, &s->challenge, &s->challenge_len);
    sys = errno;
    /* Without memory it may also go on with less, or name another reason. */
    if (sys == ENOMEM || rc == GSASL_MALLOC_ERROR || rc == GSASL_CRYPTO_ERROR) {
        failed(out, gsasl_strerror(GSASL_MALLOC_ERROR));
        out->state = SASL_UNABLE;
    } else if (rc == GSASL_OK) {
        ended(s, out);
    } else if (rc == GSASL_NEEDS_MORE) {
        *out = (struct sasl_step){ .state = SASL_CHALLENGE, .challenge = slice_make(s->challenge, s->challenge_len) };
        if (!s->mechanism->client_first)
            out->challenge = login_challenge(out->challenge);
    } else {
        failed(out, rc == GSASL_AUTHENTICATION_ERROR ? "authentication failure" : gsasl_strerror(rc));
        if (s->authid == NULL)
            s->authid = property_copy(s->lib, GSASL_AUTHID);
        out->authid = s->authid;
    }
}

void sasl_step(struct sasl_session *s, struct slice response, bool has_response, struct sasl_step *out)
{
    bool first = s->steps++ == 0;

    if (s->proven) {
        drop_challenge(s);
        if (response.len != 0)
            failed(out, "a response after the last word of the mechanism");
        else
            ended(s, out);
        return;
    }
    if (first && !has_response && s->mechanism->client_first) {
        s->steps--; /* the client's first word is still to come */
        *out = (struct sasl_step){ .state = SASL_CHALLENGE };
        return;
    }
    if (first && response.len == 0 && s->mechanism->client_first && s->external == NULL) {
        failed(out, "an empty first response"); /* the library would ask once more (RFC 4954 section 4) */
        return;
    }
    if (is_downgraded(s, response)) {
        failed(out, "channel binding was stripped from the offer: somebody is in between");
        return;
    }
    if (!s->mechanism->client_first && first) {
        library_step(s, SLICE_EMPTY, out);
        if (!has_response || out->state != SASL_CHALLENGE)
            return;
        s->steps++;
    }
    library_step(s, response, out);
}
