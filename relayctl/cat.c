/* relayctl/cat.c - the content of a message that waits, to standard output. */
#include "relayctl/tool.h"

#include "base/base64.h"
#include "queue/id.h"

#include <stdio.h>

#define PIECE (48u * KIB) /* a multiple of 3: base64 of the pieces is that of the whole */

struct cat {
    uint64_t id;
    bool begun;
    struct buf left; /* fewer bytes than a piece */
};

static void write_octets(void *ctx, struct slice piece)
{
    fwrite(piece.ptr, 1, piece.len, stdout); /* an error is told at the end, as of all output */
}

static void write_base64(struct slice piece)
{
    struct buf text = { 0 };

    base64_add(&text, piece);
    write_octets(NULL, buf_bytes(&text));
    buf_release(&text);
}

static void write_json(void *ctx, struct slice piece)
{
    struct cat *c = ctx;
    char id[QUEUE_ID_TEXT_MAX];

    if (!c->begun)
        printf("{\"id\": \"%s\", \"base64\": \"", queue_id_format(c->id, id));
    c->begun = true;
    buf_add(&c->left, piece);
    while (buf_len(&c->left) >= PIECE) {
        write_base64(slice_head(buf_bytes(&c->left), PIECE));
        buf_take(&c->left, PIECE);
    }
}

int command_cat(struct tool *t)
{
    struct cat c = { 0 };
    int exit_code;

    if (!tool_queue_id(t->args[0], &c.id))
        return EX_DATAERR;
    exit_code = fetch_content(t, c.id, t->json ? write_json : write_octets, &c);
    if (exit_code == EX_NOINPUT)
        tool_complain("what became of it tells: relayctl trace %s", t->args[0]);
    if (exit_code == EX_OK && t->json) {
        write_base64(buf_bytes(&c.left));
        puts("\"}");
    }
    buf_release(&c.left);
    return exit_code;
}
