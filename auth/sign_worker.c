/* auth/sign_worker.c - takes messages from the link, keys from memory, and
 * gives both to auth/signer.c. */
#include "auth/sign_worker.h"

#include "auth/sign_wire.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/ipc.h"
#include "net/keyring.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE (64u * KIB)

struct sign_worker {
    struct sign_worker_options opt;
    struct signer *signer;
    struct sign_worker_key *keys; /* their strings are ours */
    size_t key_count;
    struct ipc *link;
    unsigned jobs;
    bool retired;
};

/* ---- keys -------------------------------------------------------------------------- */

static void forget_keys(struct sign_worker *w)
{
    keyring_clear();
    for (size_t i = 0; i < w->key_count; i++) {
        struct sign_worker_key *k = &w->keys[i];

        if (k->pem != NULL)
            explicit_bzero((char *)k->pem, strlen(k->pem));
        free((char *)k->pem);
        free((char *)k->domain);
        free((char *)k->selector);
        free((char *)k->problem);
    }
    free(w->keys);
    w->keys = NULL;
    w->key_count = 0;
}

/* Read once, here; a key that can't be is left to libopendkim, whose refusal
 * says why for each message it was to sign. */
static void hold_key(const struct sign_worker_key *k)
{
    struct err e = keyring_add(slice_str(k->pem));
    char text[SIGNER_WHY_MAX];

    if (err_failed(e))
        log_error("sign", "%s._domainkey.%s: %s", k->selector, k->domain, err_text(e, text, sizeof text));
}

static struct err read_nothing(void *ctx, struct slice *piece)
{
    return ERR_OK;
}

static void warm_up(struct sign_worker *w, enum sign_algorithm algorithm)
{
    struct signer_message m = { .id = "warm-up", .header = SLICE("From: a@example.com\r\n"), .read = read_nothing };

    for (size_t i = 0; i < w->key_count; i++) {
        struct sign_worker_key *k = &w->keys[i];
        struct signer_key key = { k->domain, k->selector, k->algorithm, k->pem };
        struct buf fields = { 0 };
        char why[SIGNER_WHY_MAX];

        if (k->algorithm != algorithm || k->pem == NULL)
            continue;
        if (err_failed(signer_sign(w->signer, &m, &key, 1, &fields, why)))
            log_error("sign", "%s._domainkey.%s: the key can't sign: %s", k->selector, k->domain, why);
        buf_release(&fields);
        return;
    }
}

void sign_worker_set_keys(struct sign_worker *w, const struct sign_worker_key *keys, size_t count)
{
    forget_keys(w);
    w->keys = mem_zero(count, sizeof *w->keys);
    w->key_count = count;
    for (size_t i = 0; i < count; i++) {
        w->keys[i].domain = mem_str(keys[i].domain);
        w->keys[i].selector = mem_str(keys[i].selector);
        w->keys[i].algorithm = keys[i].algorithm;
        w->keys[i].pem = keys[i].pem != NULL ? mem_str(keys[i].pem) : NULL;
        w->keys[i].problem = keys[i].problem != NULL ? mem_str(keys[i].problem) : NULL;
        if (w->keys[i].pem != NULL)
            hold_key(&w->keys[i]);
    }
    warm_up(w, SIGN_RSA_SHA256);
    warm_up(w, SIGN_ED25519_SHA256);
}

static bool is_cstr(struct slice s, const char *c)
{
    return slice_eq(s, slice_str(c));
}

/* The key for signature n of a request; else why there is none. */
static bool find_key(const struct sign_worker *w, const struct sign_wire *m, size_t n, struct signer_key *out,
                     char why[SIGNER_WHY_MAX])
{
    for (size_t i = 0; i < w->key_count; i++) {
        const struct sign_worker_key *k = &w->keys[i];

        if (!is_cstr(m->selectors[n], k->selector) || !is_cstr(m->domains[n], k->domain))
            continue;
        *out = (struct signer_key){ k->domain, k->selector, k->algorithm, k->pem };
        if (k->pem == NULL)
            snprintf(why, SIGNER_WHY_MAX, "the key %s of %s: %s", k->selector, k->domain,
                     k->problem != NULL ? k->problem : "it is not here");
        return k->pem != NULL;
    }
    snprintf(why, SIGNER_WHY_MAX, "there is no key %.*s of %.*s", (int)m->selectors[n].len, m->selectors[n].ptr,
             (int)m->domains[n].len, m->domains[n].ptr);
    return false;
}

/* ---- a message ----------------------------------------------------------------------- */

struct content {
    struct slice rest;  /* of the body, in the frame */
    int fd;
    uint64_t at, end;   /* of the descriptor's bytes */
    char *piece;        /* PIECE bytes */
};

static struct err read_file(struct content *c, char *to, size_t want, size_t *got)
{
    ssize_t n;

    do
        n = pread(c->fd, to, want < c->end - c->at ? want : (size_t)(c->end - c->at), (off_t)c->at);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return err_sys(n < 0 ? errno : EIO, "read the body");
    c->at += (uint64_t)n;
    *got = (size_t)n;
    return ERR_OK;
}

static struct err content_read(void *ctx, struct slice *piece)
{
    struct content *c = ctx;
    size_t got = 0;
    struct err e;

    if (c->rest.len > 0) {
        *piece = slice_head(c->rest, PIECE);
        c->rest = slice_from(c->rest, piece->len);
        return ERR_OK;
    }
    if (c->at == c->end)
        return ERR_OK;
    e = read_file(c, c->piece, PIECE, &got);
    *piece = slice_make(c->piece, got);
    return e;
}

/* The header whole: usually it lies in the frame. */
static struct err take_header(const struct sign_wire *m, struct content *c, struct buf *room, struct slice *header)
{
    struct err e = ERR_OK;

    *header = slice_head(m->content, m->header_bytes);
    c->rest = slice_from(m->content, header->len);
    if (header->len == m->header_bytes)
        return ERR_OK;
    buf_add(room, *header);
    while (!err_failed(e) && buf_len(room) < m->header_bytes) {
        size_t missing = m->header_bytes - buf_len(room), got = 0;

        e = read_file(c, buf_reserve(room, missing), missing, &got);
        buf_extend(room, got);
    }
    *header = buf_bytes(room);
    return e;
}

static struct err sign(struct sign_worker *w, const struct sign_wire *m, int fd, struct buf *fields,
                       char why[SIGNER_WHY_MAX])
{
    struct signer_key keys[SIGN_KEYS_MAX];
    struct content c = { .fd = fd, .end = m->file_bytes, .piece = mem_alloc(PIECE) };
    struct signer_message msg = { .read = content_read, .ctx = &c, .wall_ms = m->wall_ms };
    struct buf room = { 0 };
    char id[24];
    struct err e = ERR_OK;

    snprintf(id, sizeof id, "%llu", (unsigned long long)m->id);
    msg.id = id;
    for (size_t i = 0; i < m->key_count && !err_failed(e); i++)
        if (!find_key(w, m, i, &keys[i], why))
            e = err_make(ERR_NOT_FOUND, "find the key");
    if (!err_failed(e)) {
        e = take_header(m, &c, &room, &msg.header);
        if (err_failed(e))
            err_text(e, why, SIGNER_WHY_MAX);
    }
    if (!err_failed(e))
        e = signer_sign(w->signer, &msg, keys, m->key_count, fields, why);
    explicit_bzero(keys, sizeof keys);
    buf_release(&room);
    free(c.piece);
    return e;
}

static void send_wire(struct sign_worker *w, const struct sign_wire *m)
{
    struct buf frame = { 0 };

    sign_wire_put(&frame, m);
    ipc_send(w->link, buf_bytes(&frame), -1);
    buf_release(&frame);
}

static void retire(struct sign_worker *w)
{
    w->retired = true;
    send_wire(w, &(struct sign_wire){ .type = SIGN_WIRE_RETIRE });
}

static void serve(struct sign_worker *w, const struct sign_wire *m, int fd)
{
    struct sign_wire reply = { .type = SIGN_WIRE_ANSWER, .id = m->id };
    struct buf fields = { 0 };
    char why[SIGNER_WHY_MAX] = "";

    reply.ok = !err_failed(sign(w, m, fd, &fields, why));
    reply.fields = buf_bytes(&fields);
    reply.why = why[0] != '\0' ? slice_str(why) : SLICE("unknown error");
    send_wire(w, &reply);
    buf_release(&fields);
    if (++w->jobs >= w->opt.jobs_max && !w->retired)
        retire(w);
}

/* ---- the link ------------------------------------------------------------------------- */

static void tell_unlinked(struct sign_worker *w)
{
    if (w->opt.unlinked != NULL)
        w->opt.unlinked(w->opt.ctx);
}

static void link_gone(struct sign_worker *w)
{
    ipc_free(w->link);
    w->link = NULL;
    if (w->retired)
        w->opt.spent(w->opt.ctx);
    else
        tell_unlinked(w);
}

static void link_message(void *ctx, struct slice payload, int fd)
{
    struct sign_worker *w = ctx;
    struct sign_wire m;
    struct err e = sign_wire_get(payload, &m);

    if (err_failed(e) || m.type != SIGN_WIRE_SIGN || (fd >= 0) != (m.file_bytes != 0)) {
        log_error("sign", "the engine asks what makes no sense");
        link_gone(w); /* it sees that, and the parent mends it */
    } else {
        serve(w, &m, fd);
    }
    if (fd >= 0)
        close(fd);
}

static void link_closed(void *ctx, struct err why)
{
    link_gone(ctx);
}

static const struct ipc_events link_events = { .message = link_message, .closed = link_closed };

void sign_worker_link(struct sign_worker *w, int fd)
{
    struct err e;

    ipc_free(w->link);
    w->link = NULL;
    e = ipc_new(w->opt.loop, fd, &link_events, w, &w->link);
    if (err_failed(e)) {
        char text[128];

        w->link = NULL;
        log_error("sign", "no link to the engine: %s", err_text(e, text, sizeof text));
        tell_unlinked(w);
    } else if (w->retired) {
        retire(w);
    }
}

bool sign_worker_linked(const struct sign_worker *w)
{
    return w->link != NULL;
}

struct err sign_worker_new(const struct sign_worker_options *opt, struct sign_worker **out)
{
    struct sign_worker *w = mem_new(struct sign_worker);
    struct err e = signer_new(&w->signer);

    *out = NULL;
    if (err_failed(e)) {
        free(w);
        return e;
    }
    w->opt = *opt;
    *out = w;
    return ERR_OK;
}

void sign_worker_free(struct sign_worker *w)
{
    if (w == NULL)
        return;
    ipc_free(w->link);
    forget_keys(w);
    signer_free(w->signer);
    free(w);
}
