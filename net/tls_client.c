/* net/tls_client.c - the connecting side: whom to trust, whose name to look
 * for, and the sessions that save the next handshake. */
#include "net/tls_internal.h"

#include "base/mem.h"
#include "net/tls_sessions.h"

#include <dirent.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define CA_FILE_BYTES_MAX (16u * MIB)

struct tls_client {
    atomic_uint refs;
    SSL_CTX *ctx;
    struct tls_sessions *sessions;
    size_t ca_count;
};

/* Where distributions keep all of them in one file. */
static const char *const ca_files[] = {
    "/etc/ssl/certs/ca-certificates.crt", /* Debian, Arch, Gentoo, Alpine */
    "/etc/pki/tls/certs/ca-bundle.crt",   /* Fedora */
    "/etc/ssl/ca-bundle.pem",             /* SUSE */
    "/etc/ssl/cert.pem",                  /* BSDs */
};

/* ---- whom to trust ---- */

static bool read_file(const char *path, struct buf *out)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = -1;

    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        do {
            n = read(fd, buf_reserve(out, 64 * KIB), 64 * KIB);
            if (n > 0)
                buf_extend(out, (size_t)n);
        } while (n > 0 && buf_len(out) <= CA_FILE_BYTES_MAX);
    }
    if (fd >= 0)
        close(fd);
    return n == 0;
}

/* A CA that can't be read is one less to trust, and no reason to stop. */
static void load_file(struct tls_client *t, const char *path)
{
    struct buf pem = { 0 }, why = { 0 };
    size_t count = 0;

    if (read_file(path, &pem) &&
        err_failed(tls_store_add(SSL_CTX_get_cert_store(t->ctx), buf_bytes(&pem), &count, &why)))
        ERR_clear_error();
    t->ca_count = (size_t)sk_X509_OBJECT_num(X509_STORE_get0_objects(SSL_CTX_get_cert_store(t->ctx)));
    buf_release(&pem);
    buf_release(&why);
}

/* All of it now: OpenSSL would look for a file at each handshake, on the loop. */
static void load_folders(struct tls_client *t, struct slice paths)
{
    struct slice path;

    while (slice_split(&paths, ':', &path)) {
        char *folder = mem_dup(path.ptr, path.len);
        DIR *dir = opendir(folder);
        struct dirent *entry;

        while (dir != NULL && (entry = readdir(dir)) != NULL) {
            struct buf file = { 0 };

            buf_printf(&file, "%s/%s", folder, entry->d_name);
            load_file(t, buf_cstr(&file));
            buf_release(&file);
        }
        if (dir != NULL)
            closedir(dir);
        free(folder);
    }
}

static void load_authorities(struct tls_client *t)
{
    const char *file = secure_getenv(X509_get_default_cert_file_env());
    const char *folder = secure_getenv(X509_get_default_cert_dir_env());

    if (file != NULL)
        load_file(t, file);
    if (folder != NULL)
        load_folders(t, slice_str(folder));
    if (file != NULL || folder != NULL)
        return;
    for (size_t i = 0; i < countof(ca_files) && t->ca_count == 0; i++)
        load_file(t, ca_files[i]);
    if (t->ca_count == 0)
        load_file(t, X509_get_default_cert_file());
    if (t->ca_count == 0)
        load_folders(t, slice_str(X509_get_default_cert_dir()));
}

/* ---- sessions ---- */

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls_stream *s = SSL_get_app_data(ssl);

    if (s->cache_key == NULL)
        return 0;
    tls_sessions_put(s->client->sessions, s->cache_key, session);
    return 1; /* taken over */
}

/* ---- life ---- */

struct err tls_client_new(const struct clock *clock, struct tls_client **out)
{
    struct tls_client *t = mem_new(struct tls_client);
    struct err e = tls_context_new(TLS_client_method(), &t->ctx);

    atomic_init(&t->refs, 1);
    if (err_failed(e)) {
        free(t);
        return e;
    }
    t->sessions = tls_sessions_new(clock);
    SSL_CTX_set_session_cache_mode(t->ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(t->ctx, keep_session);
    load_authorities(t);
    *out = t;
    return ERR_OK;
}

struct tls_client *tls_client_ref(struct tls_client *t)
{
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    return t;
}

void tls_client_unref(struct tls_client *t)
{
    if (t == NULL || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
        return;
    SSL_CTX_free(t->ctx);
    tls_sessions_free(t->sessions);
    free(t);
}

size_t tls_client_ca_count(const struct tls_client *t)
{
    return t->ca_count;
}

/* ---- one connection ---- */

/* With TLS_ANY the name is looked for all the same, so that the record of how
 * good the certificate was is true. */
static bool set_name(SSL *ssl, const struct tls_target *to)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    struct net_addr addr;

    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (to->name == NULL)
        return to->verify == TLS_ANY;
    if (net_addr_parse(slice_str(to->name), &addr))
        return X509_VERIFY_PARAM_set1_ip_asc(param, to->name) == 1;
    return X509_VERIFY_PARAM_set1_host(param, to->name, 0) == 1 &&
           SSL_set_tlsext_host_name(ssl, to->name) == 1;
}

static void resume(struct tls_stream *s)
{
    SSL_SESSION *session = tls_sessions_get(s->client->sessions, s->cache_key);

    if (session == NULL)
        return;
    SSL_set_session(s->ssl, session);
    SSL_SESSION_free(session);
}

struct err tls_connect(struct stream *inner, struct tls_client *t, const struct tls_target *to,
                       struct stream **out)
{
    struct tls_stream *s;
    struct err e = tls_stream_new(inner, t->ctx, false, &s);

    if (err_failed(e))
        return e;
    s->client = tls_client_ref(t);
    s->must_verify = to->verify == TLS_NAME;
    SSL_set_verify(s->ssl, s->must_verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    if (!set_name(s->ssl, to)) {
        ERR_clear_error();
        stream_close(&s->stream);
        return err_make(ERR_SYNTAX, "name for TLS");
    }
    if (to->cache_key != NULL) {
        s->cache_key = mem_str(to->cache_key);
        resume(s);
    }
    tls_stream_start(s);
    *out = &s->stream;
    return ERR_OK;
}
