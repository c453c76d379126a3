/* smtp/server_content.c - the content of a message on its way in, by DATA
 * (RFC 5321 section 4.1.1.4) or in chunks by BDAT (RFC 3030).
 *
 * Whatever is wrong with content is noted while all of it is consumed to its
 * true end and told after that: no byte of it is ever read as a command. Of
 * several faults the reply names one by a fixed order, so that it does not
 * depend on how the bytes were cut on their way.
 */
#include "smtp/server_private.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

/* Content goes on in pieces of at most this size: a hold takes effect soon. */
#define SERVER_PIECE_MAX (64u * KIB)
#define FAULTS_REFUSED   (MAIL_FAULT_BARE_CR | MAIL_FAULT_BARE_LF | MAIL_FAULT_LONG_LINE)
#define REASON_MAX       96

static void content_new(struct smtp_server *s, bool chunked)
{
    s->content = mem_new(struct server_content);
    s->content->reader.chunked = chunked;
    s->content->reader.repair_line_ends = s->opt->repair_line_ends;
}

void server_content_free(struct smtp_server *s)
{
    if (s->content == NULL)
        return;
    buf_release(&s->content->header);
    free(s->content);
    s->content = NULL;
    s->held = false;
}

static bool is_refused(const struct server_content *c)
{
    return c->too_large || c->header_too_large || c->loop ||
           (c->reader.faults & FAULTS_REFUSED) != 0;
}

/* Why content is refused; the code, or 0 when it is sound so far. */
static unsigned refusal(const struct smtp_server *s, char reason[REASON_MAX])
{
    const struct server_content *c = s->content;

    if ((c->reader.faults & (MAIL_FAULT_BARE_CR | MAIL_FAULT_BARE_LF)) != 0) {
        snprintf(reason, REASON_MAX, "5.6.0 message has a CR or LF that is not part of a CR LF");
        return 550;
    }
    if ((c->reader.faults & MAIL_FAULT_LONG_LINE) != 0) {
        snprintf(reason, REASON_MAX, "5.6.0 message has a line of over %u bytes", MAIL_LINE_MAX);
        return 550;
    }
    if (c->too_large) {
        snprintf(reason, REASON_MAX, "5.3.4 message is larger than %llu bytes",
                 (unsigned long long)s->opt->message_size_max);
        return 552;
    }
    if (c->header_too_large) {
        snprintf(reason, REASON_MAX, "5.3.4 header is larger than %u bytes", MAIL_HEADER_MAX);
        return 552;
    }
    if (c->loop) {
        snprintf(reason, REASON_MAX, "5.4.6 mail loop: over %u Received fields",
                 s->opt->received_max);
        return 554;
    }
    return 0;
}

static void give(struct smtp_server *s, struct slice bytes)
{
    if (bytes.len > 0 && !is_refused(s->content))
        s->handler->message_bytes(s->ctx, bytes);
}

/* Called with the content so far, until the header's end is known. */
static bool check_header(struct smtp_server *s, struct slice all, bool is_end)
{
    struct server_content *c = s->content;

    if (!mail_header_scan(&c->scan, all, is_end)) {
        c->header_too_large = all.len > MAIL_HEADER_MAX;
        return c->header_too_large;
    }
    c->header_too_large = c->scan.size > MAIL_HEADER_MAX;
    c->loop = s->opt->received_max != 0 && c->scan.received > s->opt->received_max;
    return true;
}

/* The header goes to the handler when it is whole and found good; mostly it
 * came in one piece and is not copied. */
static void header_bytes(struct smtp_server *s, struct slice bytes)
{
    struct server_content *c = s->content;

    if (buf_len(&c->header) > 0) {
        buf_add(&c->header, bytes);
        bytes = buf_bytes(&c->header);
    }
    c->header_checked = check_header(s, bytes, false);
    if (c->header_checked)
        give(s, bytes);
    else if (buf_len(&c->header) == 0)
        buf_add(&c->header, bytes);
    if (c->header_checked)
        buf_release(&c->header);
}

static void content_sink(void *ctx, struct slice bytes)
{
    struct smtp_server *s = ctx;
    struct server_content *c = s->content;
    uint64_t max = s->opt->message_size_max;

    if (max != 0 && c->reader.size_bytes > max)
        c->too_large = true;
    if (is_refused(c))
        buf_release(&c->header);
    else if (c->header_checked)
        give(s, bytes);
    else
        header_bytes(s, bytes);
}

/* All is consumed: the handler decides about sound content, we refuse the rest. */
static void content_end(struct smtp_server *s)
{
    struct server_content *c = s->content;
    char reason[REASON_MAX];
    struct smtp_content facts;
    unsigned code;

    if (!c->header_checked && !is_refused(c)) {
        check_header(s, buf_bytes(&c->header), true);
        give(s, buf_bytes(&c->header));
    }
    code = refusal(s, reason);
    if (code != 0) {
        server_reply(s, code, reason);
        server_end_transaction(s);
        server_enter(s, PH_READY);
        return;
    }
    facts = (struct smtp_content){ .size_bytes = c->reader.size_bytes,
                                   .eight_bit = c->reader.eight_bit,
                                   .header_bytes = c->scan.size };
    server_content_free(s);
    server_ask(s, ASK_END);
    s->handler->message_end(s->ctx, &facts);
}

void server_data(struct smtp_server *s, struct slice args)
{
    s->asked_by_bdat = false;
    server_ask(s, ASK_BEGIN);
    s->handler->message_begin(s->ctx);
}

/* A chunk is consumed whatever becomes of it. */
static void skip_chunk(struct smtp_server *s, unsigned code, const char *text)
{
    free(s->chunk_refusal);
    s->chunk_refusal = mem_str(text);
    s->chunk_refusal_code = code;
    server_enter(s, PH_CHUNK);
}

/* "n" or "n LAST" (RFC 3030 section 2). */
static bool parse_chunk(struct slice args, uint64_t *size, bool *last)
{
    size_t len = slice_find(args, ' ');
    struct slice word = slice_trim(slice_from(args, len));

    *last = word.len > 0;
    return len > 0 && len <= 20 && slice_u64(slice_head(args, len), size) &&
           (word.len == 0 || slice_eq_nocase(word, SLICE("LAST")));
}

void server_bdat(struct smtp_server *s, struct slice args)
{
    uint64_t max = s->opt->message_size_max;

    if (!parse_chunk(args, &s->chunk_left, &s->chunk_last)) {
        server_reply_close(s, 521, "5.5.4 BDAT needs a length: what follows can't be told apart");
        return;
    }
    s->chunk_only_skipped = (s->phase & (PH_RCPT | PH_BDAT)) == 0;
    if (s->chunk_only_skipped) {
        s->chunk_phase = s->phase;
        skip_chunk(s, s->phase == PH_MAIL ? 554 : 503,
                   s->phase == PH_MAIL ? "5.5.1 no valid recipients" : "5.5.1 MAIL and RCPT first");
        return;
    }
    if (s->phase == PH_RCPT) {
        s->asked_by_bdat = true;
        server_ask(s, ASK_BEGIN);
        s->handler->message_begin(s->ctx);
        return;
    }
    if (max != 0 && s->chunk_left > max - s->content->reader.size_bytes)
        s->content->too_large = true;
    server_enter(s, PH_CHUNK);
}

/* The handler is ready for content, or is not. */
void server_content_begun(struct smtp_server *s, unsigned code, const char *text)
{
    uint64_t max = s->opt->message_size_max;

    if (code < 400) {
        content_new(s, s->asked_by_bdat);
        if (!s->asked_by_bdat) {
            server_reply(s, 354, "end data with <CR><LF>.<CR><LF>");
            server_enter(s, PH_DATA);
            return;
        }
        s->content->too_large = max != 0 && s->chunk_left > max;
        server_enter(s, PH_CHUNK);
    } else if (s->asked_by_bdat) {
        skip_chunk(s, code, text);
    } else {
        server_reply(s, code, text);
        server_end_transaction(s);
        server_enter(s, PH_READY);
    }
}

static void data_step(struct smtp_server *s)
{
    struct slice piece = slice_head(s->view, SERVER_PIECE_MAX);
    size_t used = 0;
    bool done = mail_data_feed(&s->content->reader, piece, &used, content_sink, s);

    s->view = slice_from(s->view, used);
    if (!done)
        return;
    s->command = SLICE("DATA");
    content_end(s);
}

/* A chunk between others is acknowledged; a fault ends the message, and later
 * chunks of it, sent without waiting, then belong to none (503). */
static void chunk_end(struct smtp_server *s)
{
    char reason[REASON_MAX];
    unsigned code;

    if (s->chunk_refusal != NULL) {
        server_reply(s, s->chunk_refusal_code, s->chunk_refusal);
        free(s->chunk_refusal);
        s->chunk_refusal = NULL;
        if (!s->chunk_only_skipped) {
            server_end_transaction(s);
            s->chunk_phase = PH_READY;
        }
        server_enter(s, s->chunk_phase);
        return;
    }
    if (s->chunk_last) {
        mail_data_finish(&s->content->reader, content_sink, s);
        content_end(s);
        return;
    }
    code = refusal(s, reason);
    if (code != 0) {
        server_reply(s, code, reason);
        server_end_transaction(s);
        server_enter(s, PH_READY);
        return;
    }
    server_reply(s, 250, "2.0.0 chunk taken");
    server_enter(s, PH_BDAT);
}

static void chunk_step(struct smtp_server *s)
{
    size_t len = s->chunk_left < SERVER_PIECE_MAX ? (size_t)s->chunk_left : SERVER_PIECE_MAX;
    struct slice piece = slice_head(s->view, len);
    size_t used;

    if (s->chunk_refusal == NULL)
        mail_data_feed(&s->content->reader, piece, &used, content_sink, s);
    s->view = slice_from(s->view, piece.len);
    s->chunk_left -= piece.len;
    if (s->chunk_left == 0)
        chunk_end(s);
}

void server_content_step(struct smtp_server *s)
{
    if (s->phase == PH_DATA)
        data_step(s);
    else
        chunk_step(s);
}
