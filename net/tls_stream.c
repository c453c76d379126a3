/* net/tls_stream.c - the records between a stream's owner and the stream it
 * wraps, the same on both sides.
 *
 * OpenSSL reads straight from the bytes the inner stream delivers and writes
 * straight into its output, so an idle session owns no buffer. What the owner
 * flushes is encrypted once at the end of the turn, by a timer of 0 ms, and
 * never far ahead of what the peer takes.
 */
#include "net/tls_internal.h"

#include "base/mem.h"

#include <errno.h>
#include <openssl/err.h>
#include <pthread.h>
#include <stdlib.h>

#define RECORD_BYTES   16384u         /* of plain text, at most */
#define AHEAD_BYTES    (256u * KIB)   /* encrypted and not yet with the kernel */
#define PIECE_BYTES    (4u * RECORD_BYTES)
#define CHOKE_BYTES    (2u * AHEAD_BYTES)
#define KEEP_BUF_BYTES 256u           /* an idle stream's output buffer is not larger */

static const struct stream_ops tls_ops;

static struct tls_stream *of_stream(struct stream *st)
{
    return container_of(st, struct tls_stream, stream);
}

/* ---- OpenSSL's side: no memory of its own, no system calls ---- */

static int bio_read(BIO *b, char *to, int room)
{
    struct tls_stream *s = BIO_get_data(b);
    size_t n = s->in.len < (size_t)room ? s->in.len : (size_t)room;

    BIO_clear_retry_flags(b);
    if (n == 0) {
        BIO_set_retry_read(b);
        return -1;
    }
    memcpy(to, s->in.ptr, n);
    s->in = slice_from(s->in, n);
    return (int)n;
}

static int bio_write(BIO *b, const char *from, int len)
{
    struct tls_stream *s = BIO_get_data(b);

    BIO_clear_retry_flags(b);
    if (s->inner == NULL || len < 0)
        return -1;
    buf_add(stream_out(s->inner), slice_make(from, (size_t)len));
    s->wrote = true;
    return len;
}

static long bio_ctrl(BIO *b, int what, long n, void *ptr)
{
    (void)b;
    (void)n;
    (void)ptr;
    return what == BIO_CTRL_FLUSH || what == BIO_CTRL_DUP;
}

static BIO_METHOD *bio_method;
static pthread_once_t bio_once = PTHREAD_ONCE_INIT;

static void make_bio_method(void)
{
    bio_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "stream");
    if (bio_method == NULL)
        return;
    BIO_meth_set_read(bio_method, bio_read);
    BIO_meth_set_write(bio_method, bio_write);
    BIO_meth_set_ctrl(bio_method, bio_ctrl);
}

/* ---- the end ---- */

static void destroy(struct tls_stream *s)
{
    /* Without this SSL_free takes the connection for a broken one, and its
     * session could not be resumed. */
    if (s->ssl != NULL)
        SSL_set_shutdown(s->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(s->ssl);
    tls_info_release(&s->info);
    tls_server_unref(s->server);
    tls_client_unref(s->client);
    free(s->cache_key);
    buf_release(&s->held);
    buf_wipe(&s->stream.out); /* may hold a password */
    free(s);
}

static void enter(struct tls_stream *s)
{
    s->busy++;
}

static void leave(struct tls_stream *s)
{
    if (--s->busy == 0 && s->closing)
        destroy(s);
}

static void tell_closed(struct tls_stream *s, struct err why)
{
    if (s->told || s->closing)
        return;
    s->told = true;
    s->dead = why.sys != 0;
    buf_release(&s->held);
    s->in = SLICE_EMPTY;
    if (s->dead)
        buf_clear(&s->stream.out);
    if (s->inner != NULL)
        stream_pause(s->inner, true);
    s->stream.events->closed(s->stream.ctx, why);
}

/* The alert that tells the peer why is in the inner stream's output. */
static void fail(struct tls_stream *s, char *error)
{
    struct stream *inner = s->inner;

    if (s->told || s->closing) {
        free(error);
        return;
    }
    free(s->info.error);
    s->info.error = error;
    s->inner = NULL;
    stream_finish(inner);
    tell_closed(s, (struct err){ ERR_TLS, EPROTO, s->info.established ? "TLS" : "TLS handshake" });
}

static void flush_inner(struct tls_stream *s)
{
    if (!s->wrote)
        return;
    s->wrote = false;
    if (s->inner != NULL)
        stream_flush(s->inner);
}

/* ---- output ---- */

static bool encrypt(struct tls_stream *s, size_t ahead_max)
{
    struct buf *out = &s->stream.out;

    while (buf_len(out) > 0 && stream_backlog(s->inner) < ahead_max) {
        struct slice piece = slice_head(buf_bytes(out), PIECE_BYTES);

        ERR_clear_error();
        if (SSL_write(s->ssl, piece.ptr, (int)piece.len) <= 0)
            return false;
        /* Plain text, perhaps a password: the memory is used again. */
        OPENSSL_cleanse((char *)piece.ptr, piece.len);
        buf_take(out, piece.len);
        s->owed = true;
    }
    return true;
}

static void write_output(struct tls_stream *s)
{
    struct buf *out = &s->stream.out;

    if (s->closing || s->dead || s->inner == NULL) {
        buf_clear(out);
        return;
    }
    if (!s->info.established) { /* it waits, the handshake does not */
        flush_inner(s);
        return;
    }
    if (!encrypt(s, AHEAD_BYTES)) {
        fail(s, tls_explain(s));
        return;
    }
    s->flush_due = buf_len(out) > 0;
    s->stream.out_under_way = s->owed ? stream_backlog(s->inner) : 0;
    if (buf_len(out) == 0 && out->cap > KEEP_BUF_BYTES)
        buf_release(out);
    flush_inner(s);
}

/* ---- input ---- */

static void hold_rest(struct tls_stream *s, bool from_held)
{
    if (s->told || s->closing)
        return;
    if (from_held)
        buf_take(&s->held, buf_len(&s->held) - s->in.len);
    else if (s->in.len > 0)
        buf_add(&s->held, s->in);
    s->in = SLICE_EMPTY;
    if (buf_len(&s->held) == 0)
        buf_release(&s->held);
}

static void established(struct tls_stream *s)
{
    tls_info_fill(s);
    if (s->must_verify && !s->info.verified) {
        fail(s, mem_str(s->info.why_not != NULL ? s->info.why_not : "the peer has no certificate"));
        return;
    }
    s->info.established = true;
    if (s->stream.events->opened != NULL)
        s->stream.events->opened(s->stream.ctx);
    if (!s->closing && s->flush_due)
        loop_arm(s->stream.loop, &s->work, 0);
}

static void shake_hands(struct tls_stream *s)
{
    int rc;

    ERR_clear_error();
    rc = SSL_do_handshake(s->ssl);
    if (rc == 1)
        established(s);
    else if (SSL_get_error(s->ssl, rc) != SSL_ERROR_WANT_READ)
        fail(s, tls_explain(s));
}

/* False when there is no more for now. */
static bool read_record(struct tls_stream *s)
{
    char plain[RECORD_BYTES];
    int n, why;

    ERR_clear_error();
    n = SSL_read(s->ssl, plain, sizeof plain);
    if (n > 0) {
        s->stream.events->data(s->stream.ctx, slice_make(plain, (size_t)n));
        return true;
    }
    why = SSL_get_error(s->ssl, n);
    if (why == SSL_ERROR_ZERO_RETURN)
        tell_closed(s, err_make(ERR_CLOSED, "read"));
    else if (why != SSL_ERROR_WANT_READ)
        fail(s, tls_explain(s));
    return false;
}

/* A peer that makes us answer (key updates) and does not read is not read
 * any more either. */
static void pause_inner(struct tls_stream *s)
{
    if (s->inner == NULL || s->told)
        return;
    s->choked = stream_backlog(s->inner) > CHOKE_BYTES;
    stream_pause(s->inner, s->choked || buf_len(&s->held) > 0 || (s->paused && s->info.established));
}

static void take_input(struct tls_stream *s, struct slice bytes, bool from_held)
{
    s->in = bytes;
    if (!s->info.established)
        shake_hands(s);
    while (s->info.established && !s->paused && !s->told && !s->closing && read_record(s))
        ;
    hold_rest(s, from_held);
    if (!s->closing) {
        flush_inner(s);
        pause_inner(s);
    }
}

static void take_held(struct tls_stream *s)
{
    if (buf_len(&s->held) == 0 || s->told || (s->paused && s->info.established))
        return;
    take_input(s, buf_bytes(&s->held), true);
}

/* ---- what the inner stream tells ---- */

static void inner_opened(void *ctx)
{
    (void)ctx; /* the handshake waits in its output already */
}

static void inner_data(void *ctx, struct slice bytes)
{
    struct tls_stream *s = ctx;

    if (s->told)
        return;
    if (!s->heard) {
        s->heard = true;
        s->first_byte = (unsigned char)bytes.ptr[0];
    }
    enter(s);
    if (buf_len(&s->held) > 0) { /* it was paused late in its turn: order is kept */
        buf_add(&s->held, bytes);
        take_held(s);
    } else {
        take_input(s, bytes, false);
    }
    leave(s);
}

static void inner_drained(void *ctx)
{
    struct tls_stream *s = ctx;

    enter(s);
    s->stream.out_under_way = 0;
    if (s->choked)
        pause_inner(s);
    if (s->flush_due && s->info.established && buf_len(&s->stream.out) > 0) {
        write_output(s);
    } else if (s->owed) {
        s->owed = false;
        if (!s->told && s->stream.events->drained != NULL)
            s->stream.events->drained(s->stream.ctx);
    }
    leave(s);
}

static void inner_closed(void *ctx, struct err why)
{
    struct tls_stream *s = ctx;

    enter(s);
    /* Input that waited for its turn comes before the end. */
    if (why.kind != ERR_TIMEOUT)
        take_held(s);
    if (s->info.established) {
        s->info.truncated = why.kind == ERR_CLOSED && !s->told;
        tell_closed(s, why);
    } else if (why.kind == ERR_TIMEOUT && why.sys == 0) {
        tell_closed(s, (struct err){ ERR_TIMEOUT, ETIMEDOUT, why.what });
    } else if (why.kind == ERR_CLOSED && !s->told && !s->closing) {
        fail(s, mem_str(s->heard ? "the connection ended during the TLS handshake"
                                 : "the connection ended before the TLS handshake"));
    } else {
        tell_closed(s, why);
    }
    leave(s);
}

static const struct stream_events inner_events = { inner_opened, inner_data, inner_drained, inner_closed };

/* ---- what the owner wants ---- */

static void work_fire(struct timer *t)
{
    struct tls_stream *s = container_of(t, struct tls_stream, work);

    enter(s);
    if (!s->info.established && s->inner != NULL && !s->heard)
        shake_hands(s); /* a client's first word */
    take_held(s);
    if (!s->closing && s->flush_due)
        write_output(s);
    else if (!s->closing)
        flush_inner(s);
    leave(s);
}

static void op_flush(struct stream *st)
{
    struct tls_stream *s = of_stream(st);

    s->flush_due = true;
    if (!timer_armed(&s->work))
        loop_arm(st->loop, &s->work, 0);
}

static void op_pause(struct stream *st, bool on)
{
    struct tls_stream *s = of_stream(st);

    s->paused = on;
    if (s->told || s->inner == NULL)
        return;
    pause_inner(s);
    if (!on && buf_len(&s->held) > 0 && !timer_armed(&s->work))
        loop_arm(st->loop, &s->work, 0);
}

static void op_deadline(struct stream *st, uint64_t in_ms)
{
    struct tls_stream *s = of_stream(st);

    if (s->inner != NULL && !s->told)
        stream_deadline(s->inner, in_ms);
}

static void op_close(struct stream *st, bool finish)
{
    struct tls_stream *s = of_stream(st);
    struct stream *inner = s->inner;

    if (inner != NULL && finish && s->info.established && !s->dead && encrypt(s, SIZE_MAX)) {
        SSL_shutdown(s->ssl);
        s->inner = NULL;
        stream_finish(inner);
    } else {
        s->inner = NULL;
        stream_close(inner);
    }
    loop_disarm(st->loop, &s->work);
    s->closing = true;
    if (s->busy == 0)
        destroy(s);
}

static const struct stream_ops tls_ops = { op_flush, op_pause, op_deadline, op_close };

/* ---- the beginning ---- */

static struct err attach(struct tls_stream *s, SSL_CTX *ctx)
{
    BIO *bio;

    pthread_once(&bio_once, make_bio_method);
    s->ssl = SSL_new(ctx);
    bio = bio_method != NULL ? BIO_new(bio_method) : NULL;
    if (s->ssl == NULL || bio == NULL) {
        BIO_free(bio);
        return err_make(ERR_LIMIT, "make TLS session");
    }
    BIO_set_data(bio, s);
    BIO_set_init(bio, 1);
    SSL_set_bio(s->ssl, bio, bio);
    SSL_set_app_data(s->ssl, s);
    return ERR_OK;
}

struct err tls_stream_new(struct stream *inner, SSL_CTX *ctx, bool server, struct tls_stream **out)
{
    struct tls_stream *s = mem_new(struct tls_stream);
    struct err e = attach(s, ctx);

    if (err_failed(e)) {
        stream_close(inner);
        destroy(s);
        return e;
    }
    s->inner = inner;
    s->stream.ops = &tls_ops;
    s->stream.loop = inner->loop;
    s->stream.local = inner->local;
    s->stream.remote = inner->remote;
    s->stream.tls = &s->info;
    s->work.fire = work_fire;
    stream_set_events(inner, &inner_events, s);
    if (server)
        SSL_set_accept_state(s->ssl);
    else
        SSL_set_connect_state(s->ssl);
    if (buf_len(stream_out(inner)) > 0)
        stream_flush(inner);
    stream_pause(inner, false);
    *out = s;
    return ERR_OK;
}

void tls_stream_start(struct tls_stream *s)
{
    loop_arm(s->stream.loop, &s->work, 0);
}
