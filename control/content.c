/* control/content.c - signatures, header and body, one after the other. */
#include "control/content.h"

#include "base/crc32c.h"
#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PARTS 3u

struct content {
    struct message *message;
    struct slice parts[PARTS]; /* what of them is still to come */
    int fd;                    /* of a body in a file, which follows them; or -1 */
    uint64_t left;             /* in the file */
    uint32_t crc;              /* of what was read of it */
};

struct content_read {
    uint64_t id;
    struct message *message;
};

static struct err read_step(void *ctx, struct store_txn *t)
{
    struct content_read *r = ctx;

    return queue_read(t, r->id, &r->message);
}

struct err content_open(struct source *s, uint64_t id, struct content **out)
{
    struct content_read r = { .id = id };
    struct err e = source_read(s, queue_store(s->queue), read_step, &r);
    struct content *c;

    if (e.kind == ERR_NOT_FOUND)
        return err_make(ERR_NOT_FOUND, "no such message in the queue");
    if (err_failed(e))
        return e;
    c = mem_new(struct content);
    c->message = r.message;
    c->fd = -1;
    c->parts[0] = buf_bytes(&r.message->signatures);
    c->parts[1] = r.message->header;
    c->parts[2] = r.message->body;
    if (r.message->body_place == BODY_BLOB) {
        c->left = r.message->body_bytes;
        e = queue_body_file(s->queue, r.message, &c->fd);
    }
    if (err_failed(e)) {
        content_close(c);
        return e;
    }
    *out = c;
    return ERR_OK;
}

uint64_t content_size(const struct content *c)
{
    return buf_len(&c->message->signatures) + message_size(c->message);
}

static struct err next_of_file(struct content *c, char *room, size_t max, size_t *got)
{
    ssize_t n;

    do
        n = read(c->fd, room, c->left < max ? (size_t)c->left : max);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return err_sys(errno, "read body file");
    c->crc = crc32c(c->crc, slice_make(room, (size_t)n));
    c->left -= (uint64_t)n;
    *got = (size_t)n;
    if (n == 0 || (c->left == 0 && c->crc != c->message->body_crc))
        return err_make(ERR_CORRUPT, n == 0 ? "the body file is too short" : "body checksum");
    return ERR_OK;
}

struct err content_next(struct content *c, char *room, size_t max, size_t *got)
{
    *got = 0;
    for (unsigned i = 0; i < PARTS; i++) {
        struct slice piece = slice_head(c->parts[i], max);

        if (piece.len == 0)
            continue;
        memcpy(room, piece.ptr, piece.len);
        c->parts[i] = slice_from(c->parts[i], piece.len);
        *got = piece.len;
        return ERR_OK;
    }
    return c->left > 0 ? next_of_file(c, room, max, got) : ERR_OK;
}

void content_close(struct content *c)
{
    if (c == NULL)
        return;
    if (c->fd >= 0)
        close(c->fd);
    message_unref(c->message);
    free(c);
}
