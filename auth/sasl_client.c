/* auth/sasl_client.c - how this server proves who it is to a smart host. */
#include "auth/sasl_client.h"

#include "auth/scram_client.h"
#include "base/mem.h"
#include "base/secret.h"

#include <gsasl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

/* A server names the number of iterations; each costs both sides the same.
 * RFC 7677 asks for 4096 at least. 100,000 are some 50 ms, once a login. */
#define SCRAM_ITERATIONS_MAX 100000u
#define SECRET_SHOWN_MIN     4u /* shorter secrets are struck out of no text: they are in every second word */

#define PASSWORD_MECHANISMS                                                                        \
    (SASL_BIT(SASL_SCRAM_SHA_256_PLUS) | SASL_BIT(SASL_SCRAM_SHA_256) | SASL_BIT(SASL_PLAIN) |     \
     SASL_BIT(SASL_LOGIN))

static const char *const names[SASL_MECHANISM_COUNT] = {
    [SASL_SCRAM_SHA_256_PLUS] = "SCRAM-SHA-256-PLUS",
    [SASL_SCRAM_SHA_256] = "SCRAM-SHA-256",
    [SASL_PLAIN] = "PLAIN",
    [SASL_LOGIN] = "LOGIN",
    [SASL_XOAUTH2] = "XOAUTH2",
};

struct sasl_login {
    atomic_uint refs;
    unsigned able; /* mechanisms, bits */
    char *user;
    char *password, *token; /* or NULL */
    Gsasl *library;         /* only read once it is made */

    /* SCRAM's slow step, kept for the next connection: what the server's salt
     * and iterations make of the password. */
    pthread_mutex_t lock;
    char *salted_for; /* "SALT,COUNT", or NULL */
    uint8_t salted[SCRAM_KEY_BYTES];
};

struct sasl_client {
    struct sasl_login *login;
    enum sasl_mechanism mechanism;
    Gsasl_session *session;     /* PLAIN, LOGIN */
    struct scram_client *scram; /* SCRAM */
    enum scram_bind bind;
    unsigned steps;
    bool complete;
    char problem[320];
};

const char *sasl_mechanism_name(enum sasl_mechanism m)
{
    return names[m];
}

unsigned sasl_mechanism_bit(struct slice name)
{
    for (unsigned m = 0; m < SASL_MECHANISM_COUNT; m++) {
        if (slice_eq_nocase(name, slice_str(names[m])))
            return SASL_BIT(m);
    }
    return 0;
}

/* ---- the login ---------------------------------------------------------------- */

static char *keep(const char *s)
{
    return s != NULL ? mem_str(s) : NULL;
}

static void wipe(char *s)
{
    if (s == NULL)
        return;
    explicit_bzero(s, strlen(s));
    free(s);
}

struct sasl_login *sasl_login_new(const struct sasl_login_options *opt)
{
    struct sasl_login *l = mem_new(struct sasl_login);

    atomic_init(&l->refs, 1);
    pthread_mutex_init(&l->lock, NULL);
    l->user = mem_str(opt->user);
    l->password = keep(opt->password);
    l->token = keep(opt->token);
    if (l->password != NULL)
        l->able |= PASSWORD_MECHANISMS;
    if (l->token != NULL)
        l->able |= SASL_BIT(SASL_XOAUTH2);
    if (opt->allowed != 0)
        l->able &= opt->allowed;
    if (gsasl_init(&l->library) != GSASL_OK) {
        l->library = NULL;
        l->able &= SASL_BIT(SASL_XOAUTH2);
    }
    return l;
}

struct sasl_login *sasl_login_ref(struct sasl_login *l)
{
    atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
    return l;
}

void sasl_login_unref(struct sasl_login *l)
{
    if (l == NULL || atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (l->library != NULL)
        gsasl_done(l->library);
    pthread_mutex_destroy(&l->lock);
    wipe(l->password);
    wipe(l->token);
    secret_wipe(l->salted, sizeof l->salted);
    free(l->salted_for);
    free(l->user);
    free(l);
}

const char *sasl_login_user(const struct sasl_login *l)
{
    return l->user;
}

static void censor(struct buf *text, const char *secret)
{
    size_t len = secret != NULL ? strlen(secret) : 0;
    struct buf out = { 0 };
    struct slice rest = buf_bytes(text);

    if (len < SECRET_SHOWN_MIN)
        return;
    for (;;) {
        const char *at = rest.len >= len ? memmem(rest.ptr, rest.len, secret, len) : NULL;

        if (at == NULL)
            break;
        buf_add(&out, slice_head(rest, (size_t)(at - rest.ptr)));
        buf_add_str(&out, "(secret)");
        rest = slice_from(rest, (size_t)(at - rest.ptr) + len);
    }
    buf_add(&out, rest);
    buf_wipe(text);
    *text = out;
}

void sasl_login_censor(const struct sasl_login *l, struct slice text, struct buf *out)
{
    struct buf clean = { 0 };

    buf_add(&clean, text);
    censor(&clean, l->password);
    censor(&clean, l->token);
    buf_add(out, buf_bytes(&clean));
    buf_release(&clean);
}

bool sasl_login_choose(const struct sasl_login *l, unsigned offered, bool has_binding, enum sasl_mechanism *out)
{
    unsigned usable = l->able & offered;

    if (!has_binding)
        usable &= ~SASL_BIT(SASL_SCRAM_SHA_256_PLUS);
    for (unsigned m = 0; m < SASL_MECHANISM_COUNT; m++) {
        if ((usable & SASL_BIT(m)) != 0) {
            *out = (enum sasl_mechanism)m;
            return true;
        }
    }
    return false;
}

/* ---- an exchange ---------------------------------------------------------------- */

static bool fail(struct sasl_client *c, const char *why)
{
    snprintf(c->problem, sizeof c->problem, "%s", why);
    return false;
}

static bool set_properties(struct sasl_client *c)
{
    return gsasl_property_set(c->session, GSASL_AUTHID, c->login->user) == GSASL_OK &&
           gsasl_property_set(c->session, GSASL_PASSWORD, c->login->password) == GSASL_OK;
}

/* What we say of a binding without using it (RFC 5802 section 6). With "y" a
 * server that did offer -PLUS knows that somebody has struck it from its offer,
 * or refused it in its name. Where the configuration excludes -PLUS, "y" would
 * be a lie that such a server must refuse. */
static enum scram_bind bind_of(const struct sasl_client *c, struct slice binding)
{
    if (c->mechanism == SASL_SCRAM_SHA_256_PLUS)
        return SCRAM_BIND_USED;
    if (binding.len > 0 && (c->login->able & SASL_BIT(SASL_SCRAM_SHA_256_PLUS)) != 0)
        return SCRAM_BIND_COULD;
    return SCRAM_BIND_NONE;
}

static bool is_scram(const struct sasl_client *c)
{
    return c->mechanism == SASL_SCRAM_SHA_256 || c->mechanism == SASL_SCRAM_SHA_256_PLUS;
}

static bool begin(struct sasl_client *c, struct slice binding)
{
    if (c->mechanism == SASL_XOAUTH2)
        return true;
    if (is_scram(c)) {
        if (c->mechanism == SASL_SCRAM_SHA_256_PLUS && binding.len == 0)
            return false;
        c->bind = bind_of(c, binding);
        c->scram = scram_client_new(c->login->user, c->bind, binding);
        return c->scram != NULL;
    }
    if (gsasl_client_start(c->login->library, names[c->mechanism], &c->session) != GSASL_OK) {
        c->session = NULL;
        return false;
    }
    return set_properties(c);
}

struct sasl_client *sasl_client_new(struct sasl_login *l, enum sasl_mechanism m, struct slice binding)
{
    struct sasl_client *c = mem_new(struct sasl_client);

    c->login = sasl_login_ref(l);
    c->mechanism = m;
    if (!begin(c, binding)) {
        sasl_client_free(c);
        return NULL;
    }
    return c;
}

void sasl_client_free(struct sasl_client *c)
{
    if (c == NULL)
        return;
    if (c->session != NULL)
        gsasl_finish(c->session);
    scram_client_free(c->scram);
    sasl_login_unref(c->login);
    free(c);
}

bool sasl_client_speaks_first(const struct sasl_client *c)
{
    return c->mechanism != SASL_LOGIN;
}

bool sasl_client_complete(const struct sasl_client *c)
{
    return c->complete;
}

const char *sasl_client_problem(const struct sasl_client *c)
{
    return c->problem[0] != '\0' ? c->problem : NULL;
}

const char *sasl_client_doubt(const struct sasl_client *c)
{
    return c->bind != SCRAM_BIND_NONE
               ? "the password is wrong, or somebody between here and the server ends the TLS of both"
               : NULL;
}

/* ---- SCRAM ------------------------------------------------------------------------ */

/* The salted password, computed unless it is the one of last time. Whoever
 * comes meanwhile computes it as well: a login waits for no other's server. */
static bool get_salted(struct sasl_login *l, const struct scram_challenge *ch, uint8_t out[SCRAM_KEY_BYTES])
{
    struct buf key = { 0 };
    bool known, good = true;

    buf_printf(&key, "%.*s,%llu", (int)ch->salt.len, ch->salt.ptr, (unsigned long long)ch->iterations);
    pthread_mutex_lock(&l->lock);
    known = l->salted_for != NULL && strcmp(l->salted_for, buf_cstr(&key)) == 0;
    if (known)
        memcpy(out, l->salted, SCRAM_KEY_BYTES);
    pthread_mutex_unlock(&l->lock);
    if (!known && (good = scram_salt(l->password, ch, out))) {
        pthread_mutex_lock(&l->lock);
        free(l->salted_for);
        l->salted_for = mem_str(buf_cstr(&key));
        memcpy(l->salted, out, SCRAM_KEY_BYTES);
        pthread_mutex_unlock(&l->lock);
    }
    buf_release(&key);
    return good;
}

/* The server's first message: what it costs is looked at before it is paid. */
static bool prove(struct sasl_client *c, struct slice message, struct buf *out)
{
    struct scram_challenge ch;
    uint8_t salted[SCRAM_KEY_BYTES];

    if (!scram_client_challenge(c->scram, message, &ch))
        return fail(c, "the server's challenge is malformed");
    if (ch.iterations > SCRAM_ITERATIONS_MAX)
        return fail(c, "the server asks for more iterations of its hash than this server will spend");
    if (!get_salted(c->login, &ch, salted))
        return fail(c, "the server's salt is malformed, or the password has characters that SASLprep forbids");
    scram_client_prove(c->scram, salted, out);
    secret_wipe(salted, sizeof salted);
    return true;
}

static bool step_scram(struct sasl_client *c, struct slice challenge, struct buf *out)
{
    if (c->steps == 1) {
        scram_client_first(c->scram, out);
        return true;
    }
    if (c->steps == 2)
        return prove(c, challenge, out);
    c->complete = scram_client_believes(c->scram, challenge);
    return c->complete || fail(c, "the server does not know the password");
}

/* ---- PLAIN, LOGIN ------------------------------------------------------------------- */

static bool step_library(struct sasl_client *c, struct slice challenge, struct buf *out)
{
    char *response = NULL;
    size_t len = 0;
    int rc = gsasl_step(c->session, challenge.ptr != NULL ? challenge.ptr : "", challenge.len, &response, &len);

    if (rc != GSASL_OK && rc != GSASL_NEEDS_MORE)
        return fail(c, gsasl_strerror(rc));
    c->complete = rc == GSASL_OK;
    buf_add(out, slice_make(response, len));
    if (response != NULL) {
        explicit_bzero(response, len);
        gsasl_free(response);
    }
    return true;
}

/* ---- XOAUTH2 ------------------------------------------------------------------------ */

/* What the server says is wrong, usually JSON, as one printable line. */
static void keep_error(struct sasl_client *c, struct slice text)
{
    struct buf clean = { 0 };
    size_t n = 0;

    sasl_login_censor(c->login, text, &clean);
    text = buf_bytes(&clean);
    for (size_t i = 0; i < text.len && n + 1 < sizeof c->problem; i++) {
        bool printable = text.ptr[i] > ' ' && text.ptr[i] <= '~';

        if (printable || (n > 0 && c->problem[n - 1] != ' '))
            c->problem[n++] = printable ? text.ptr[i] : ' ';
    }
    while (n > 0 && c->problem[n - 1] == ' ')
        n--;
    c->problem[n] = '\0';
    buf_release(&clean);
}

static bool step_bearer(struct sasl_client *c, struct slice challenge, struct buf *out)
{
    if (c->steps == 1) {
        buf_add_str(out, "user=");
        buf_add_str(out, c->login->user);
        buf_add_str(out, "\001auth=Bearer ");
        buf_add_str(out, c->login->token);
        buf_add_str(out, "\001\001");
        c->complete = true;
        return true;
    }
    /* A challenge is an error told; an empty response lets the server say so. */
    c->complete = false;
    if (c->steps > 2)
        return fail(c, "the server asked on when all was said");
    keep_error(c, challenge);
    return true;
}

bool sasl_client_step(struct sasl_client *c, struct slice challenge, struct buf *out)
{
    c->steps++;
    if (c->mechanism == SASL_XOAUTH2)
        return step_bearer(c, challenge, out);
    if (c->complete) /* nothing more to say: RFC 4954 lets a server ask for an empty line */
        return challenge.len == 0 || fail(c, "the server asked on when all was said");
    return is_scram(c) ? step_scram(c, challenge, out) : step_library(c, challenge, out);
}
