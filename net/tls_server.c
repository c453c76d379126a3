/* net/tls_server.c - the accepting side: which certificate a client gets by
 * the name it asks for, and whose certificates count of its own. */
#include "net/tls_internal.h"

#include "base/mem.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdatomic.h>
#include <stdlib.h>

/* A ticket outlives its key by no more than one turn of the keys. */
#define SESSION_SECONDS ((long)(TLS_TICKETS_ROTATE_MS / SECOND_MS))

struct site { /* a certificate, or several of different kinds for the same names */
    SSL_CTX *ctx;
    char **names; /* lower case; may begin with "*." */
    size_t name_count;
};

struct tls_server {
    atomic_uint refs;
    struct tls_tickets *tickets;
    struct site *sites;
    size_t site_count;
};

struct tls_server *tls_server_of(SSL_CTX *ctx)
{
    return SSL_CTX_get_app_data(ctx);
}

struct tls_tickets *tls_server_tickets(struct tls_server *t)
{
    return t->tickets;
}

/* ---- by name ---- */

static void add_name(struct site *site, const char *name, size_t len)
{
    char *copy;

    if (len == 0 || memchr(name, '\0', len) != NULL)
        return;
    copy = mem_dup(name, len);
    for (size_t i = 0; i < len; i++)
        copy[i] = ascii_lower(copy[i]);
    site->names = mem_grow(site->names, site->name_count + 1, sizeof *site->names);
    site->names[site->name_count++] = copy;
}

static void take_names(struct site *site)
{
    X509 *cert = SSL_CTX_get0_certificate(site->ctx);
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    char common[256];

    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *n = sk_GENERAL_NAME_value(names, i);

        if (n->type == GEN_DNS)
            add_name(site, (const char *)ASN1_STRING_get0_data(n->d.dNSName),
                     (size_t)ASN1_STRING_length(n->d.dNSName));
    }
    GENERAL_NAMES_free(names);
    if (site->name_count > 0)
        return;
    tls_name_of(cert, common, sizeof common);
    add_name(site, common, strlen(common));
}

static struct site *site_named(struct tls_server *t, struct slice name)
{
    for (size_t i = 0; i < t->site_count; i++) {
        for (size_t n = 0; n < t->sites[i].name_count; n++) {
            if (slice_eq_nocase(name, slice_str(t->sites[i].names[n])))
                return &t->sites[i];
        }
    }
    return NULL;
}

/* Exactly, or "*." for one label. */
static struct site *site_for(struct tls_server *t, struct slice name)
{
    struct site *site = site_named(t, name);
    size_t dot = slice_find(name, '.');
    char wild[258];

    if (site != NULL || dot == 0 || dot == name.len || name.len - dot >= sizeof wild - 1)
        return site;
    snprintf(wild, sizeof wild, "*%.*s", (int)(name.len - dot), name.ptr + dot);
    return site_named(t, slice_str(wild));
}

/* A name that nobody has here is no reason to go on in the clear. */
static int choose_site(SSL *ssl, int *alert, void *server)
{
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    struct slice wanted = slice_str(name);
    struct site *site;

    if (wanted.len > 0 && wanted.ptr[wanted.len - 1] == '.')
        wanted.len--;
    site = wanted.len > 0 ? site_for(server, wanted) : NULL;
    if (site != NULL && site->ctx != SSL_get_SSL_CTX(ssl))
        SSL_set_SSL_CTX(ssl, site->ctx);
    return SSL_TLSEXT_ERR_OK;
}

/* ---- making one ---- */

/* The result stays with the session; the handshake goes on. */
static int accept_all(int good, X509_STORE_CTX *store)
{
    return 1;
}

static struct err ask_for_certificates(SSL_CTX *ctx, struct slice ca, struct buf *why)
{
    STACK_OF(X509_NAME) *names = sk_X509_NAME_new_null();
    size_t count;
    struct err e = tls_store_add(SSL_CTX_get_cert_store(ctx), ca, &count, why);

    if (!err_failed(e))
        e = names != NULL ? tls_names_add(names, ca) : err_make(ERR_LIMIT, "names of CAs");
    if (err_failed(e)) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return e;
    }
    SSL_CTX_set_client_CA_list(ctx, names); /* takes them over */
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, accept_all);
    return ERR_OK;
}

/* A session is resumed only where the same CAs vouch for clients. */
static bool set_context_id(SSL_CTX *ctx, struct slice ca)
{
    unsigned char id[EVP_MAX_MD_SIZE];
    unsigned len = 0;

    return EVP_Digest(ca.ptr != NULL ? ca.ptr : "", ca.len, id, &len, EVP_sha256(), NULL) == 1 &&
           SSL_CTX_set_session_id_context(ctx, id, len) == 1;
}

static struct err make_context(struct tls_server *t, const struct tls_server_options *opt, struct buf *why,
                               SSL_CTX **out)
{
    struct err e = tls_context_new(TLS_server_method(), out);

    if (err_failed(e))
        return e;
    SSL_CTX_set_app_data(*out, t);
    SSL_CTX_set_session_cache_mode(*out, SSL_SESS_CACHE_OFF); /* tickets only */
    SSL_CTX_set_timeout(*out, SESSION_SECONDS);
    SSL_CTX_set_num_tickets(*out, 1);
    SSL_CTX_set_tlsext_servername_callback(*out, choose_site);
    SSL_CTX_set_tlsext_servername_arg(*out, t);
    SSL_CTX_set_tlsext_ticket_key_evp_cb(*out, tls_tickets_use);
    if (!set_context_id(*out, opt->client_ca))
        return err_make(ERR_SYSTEM, "set TLS up");
    return opt->client_ca.len > 0 ? ask_for_certificates(*out, opt->client_ca, why) : ERR_OK;
}

static struct site *same_names(struct tls_server *t, const struct site *site)
{
    for (size_t i = 0; i < t->site_count; i++) {
        size_t n = 0;

        while (n < site->name_count && n < t->sites[i].name_count &&
               strcmp(site->names[n], t->sites[i].names[n]) == 0)
            n++;
        if (n == site->name_count && n == t->sites[i].name_count)
            return &t->sites[i];
    }
    return NULL;
}

static void site_release(struct site *site)
{
    SSL_CTX_free(site->ctx);
    for (size_t i = 0; i < site->name_count; i++)
        free(site->names[i]);
    free(site->names);
}

static int key_kind(const SSL_CTX *ctx)
{
    return EVP_PKEY_get_base_id(SSL_CTX_get0_privatekey(ctx));
}

/* An RSA and an ECDSA certificate for the same names serve side by side:
 * OpenSSL takes the one that the client can read. */
static struct err add_site(struct tls_server *t, const struct tls_server_options *opt,
                           const struct tls_pair *pair, struct buf *why)
{
    struct site site = { 0 };
    struct site *twin;
    struct err e = make_context(t, opt, why, &site.ctx);

    if (!err_failed(e))
        e = tls_context_add_pair(site.ctx, pair, why);
    if (err_failed(e)) {
        site_release(&site);
        return e;
    }
    take_names(&site);
    twin = same_names(t, &site);
    if (twin != NULL && key_kind(twin->ctx) != key_kind(site.ctx)) {
        site_release(&site);
        return tls_context_add_pair(twin->ctx, pair, why);
    }
    t->sites[t->site_count++] = site;
    return ERR_OK;
}

struct err tls_server_new(const struct tls_server_options *opt, struct buf *why, struct tls_server **out)
{
    struct tls_server *t = mem_new(struct tls_server);
    struct err e = opt->pair_count > 0 ? ERR_OK : err_make(ERR_SYNTAX, "no certificate");

    atomic_init(&t->refs, 1);
    t->tickets = tls_tickets_ref(opt->tickets);
    t->sites = mem_zero(opt->pair_count, sizeof *t->sites);
    for (size_t i = 0; i < opt->pair_count && !err_failed(e); i++)
        e = add_site(t, opt, &opt->pairs[i], why);
    if (err_failed(e))
        tls_server_unref(t);
    else
        *out = t;
    return e;
}

struct tls_server *tls_server_ref(struct tls_server *t)
{
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    return t;
}

void tls_server_unref(struct tls_server *t)
{
    if (t == NULL || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < t->site_count; i++)
        site_release(&t->sites[i]);
    free(t->sites);
    tls_tickets_unref(t->tickets);
    free(t);
}

struct err tls_accept(struct stream *inner, struct tls_server *t, struct stream **out)
{
    struct tls_stream *s;
    struct err e = tls_stream_new(inner, t->sites[0].ctx, true, &s);

    if (err_failed(e))
        return e;
    s->server = tls_server_ref(t);
    *out = &s->stream;
    return ERR_OK;
}
