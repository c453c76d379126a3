/* bench/sink_session.c - what a message meets at the end of a benchmark: an
 * SMTP server that says yes, counts and forgets. */
#include "bench/sink_session.h"

#include <inttypes.h>
#include <isa-l/crc.h>

#define COMMAND_MAX 4096u

void sink_session_init(struct sink_session *s, struct sink_shared *shared)
{
    *s = (struct sink_session){ .shared = shared };
    shared->counts.connections++;
    buf_add_str(&s->out, "220 sink.test ESMTP\r\n");
}

void sink_session_release(struct sink_session *s)
{
    buf_release(&s->in);
    buf_release(&s->out);
    buf_release(&s->content);
}

/* ---- check ------------------------------------------------------------- */

/* The value of a field of the header, or empty. */
static struct slice header_field(struct slice header, struct slice name)
{
    struct slice line;

    while (slice_split(&header, '\n', &line)) {
        if (slice_starts_nocase(line, name)) {
            line = slice_from(line, name.len);
            if (line.len > 0 && line.ptr[line.len - 1] == '\r')
                line.len--;
            return slice_trim(line);
        }
    }
    return SLICE_EMPTY;
}

static bool has_bare_line_end(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == '\n' && (i == 0 || s.ptr[i - 1] != '\r'))
            return true;
        if (s.ptr[i] == '\r' && (i + 1 == s.len || s.ptr[i + 1] != '\n'))
            return true;
    }
    return false;
}

static uint32_t crc32_zlib(struct slice s)
{
    return crc32_gzip_refl(0, (const unsigned char *)s.ptr, s.len);
}

static const char *content_verdict(struct slice content, struct slice header)
{
    struct slice body = slice_from(content, header.len);
    struct slice crc = header_field(header, SLICE("X-Crc32:"));
    char expected[9];

    if (has_bare_line_end(content))
        return "bare";
    if (crc.len == 0)
        return "whole";
    snprintf(expected, sizeof(expected), "%08" PRIx32, crc32_zlib(body));
    return slice_eq_nocase(crc, slice_str(expected)) ? "whole" : "torn";
}

/* X-Token and X-Crc32 are fields of tests/crash/kill.py. */
static void content_check(struct sink_session *s)
{
    struct slice content = buf_bytes(&s->content);
    char *gap = content.len > 0 ? memmem(content.ptr, content.len, "\r\n\r\n", 4) : NULL;
    struct slice header =
        gap != NULL ? slice_head(content, (size_t)(gap - content.ptr) + 4) : content;
    struct slice token = header_field(header, SLICE("X-Token:"));
    const char *verdict = content_verdict(content, header);

    if (strcmp(verdict, "whole") != 0)
        s->shared->counts.bad++;
    if (s->shared->record != NULL) {
        fprintf(s->shared->record, "%.*s %s\n", (int)token.len, token.ptr, verdict);
        fflush(s->shared->record);
    }
    buf_clear(&s->content);
}

/* ---- content ----------------------------------------------------------- */

static void message_end(struct sink_session *s, uint64_t now_ns)
{
    struct sink_counts *c = &s->shared->counts;

    if (s->shared->check)
        content_check(s);
    c->messages++;
    c->recipients += s->recipients;
    c->bytes += s->bytes;
    if (c->first_ns == 0)
        c->first_ns = now_ns;
    c->last_ns = now_ns;
    s->recipients = 0;
    s->bytes = 0;
    s->phase = SINK_COMMAND;
    buf_add_str(&s->out, "250 2.0.0 taken\r\n");
}

static void content_begin(struct sink_session *s)
{
    s->phase = SINK_DATA;
    s->line_bytes = 0;
    s->last = '\n';
    buf_add_str(&s->out, "354 go on\r\n");
}

/* Takes content up to and with CR LF . CR LF; the bytes used. */
static size_t content_feed(struct sink_session *s, struct slice in, uint64_t now_ns)
{
    size_t at = 0;

    while (at < in.len) {
        const char *start = in.ptr + at;
        const char *nl = memchr(start, '\n', in.len - at);
        size_t n = nl != NULL ? (size_t)(nl - start) + 1 : in.len - at;
        bool dot_only;

        if (s->line_bytes == 0)
            s->line_first = start[0];
        if (s->line_bytes < 2 && s->line_bytes + n >= 2)
            s->line_second = start[1 - s->line_bytes];
        /* The dot that stuffing put in front is not counted nor kept. */
        if (s->shared->check) {
            bool stuffed = s->line_bytes == 0 && start[0] == '.';

            buf_add(&s->content, slice_make(start + stuffed, n - stuffed));
        }
        s->line_bytes += n;
        at += n;
        if (nl == NULL) {
            s->last = start[n - 1];
            continue;
        }
        dot_only = s->line_bytes == 3 && s->line_first == '.' && s->line_second == '\r';
        if (dot_only) {
            if (s->shared->check)
                s->content.end -= 2; /* its CR LF */
            message_end(s, now_ns);
            return at;
        }
        s->bytes += s->line_bytes - (s->line_first == '.');
        /* After a bare LF no line begins: only CR LF . CR LF ends content. */
        if (s->line_bytes > 1 && (n > 1 ? start[n - 2] : s->last) == '\r')
            s->line_bytes = 0;
        s->last = '\n';
    }
    return at;
}

static size_t chunk_feed(struct sink_session *s, struct slice in, uint64_t now_ns)
{
    size_t n = in.len < s->chunk_left ? in.len : (size_t)s->chunk_left;

    if (s->shared->check)
        buf_add(&s->content, slice_head(in, n));
    s->bytes += n;
    s->chunk_left -= n;
    if (s->chunk_left == 0) {
        if (s->chunk_last) {
            message_end(s, now_ns);
        } else {
            s->phase = SINK_COMMAND;
            buf_add_str(&s->out, "250 2.0.0 chunk\r\n");
        }
    }
    return n;
}

/* ---- commands ---------------------------------------------------------- */

static void chunk_begin(struct sink_session *s, struct slice args, uint64_t now_ns)
{
    struct slice size;
    bool more = slice_split(&args, ' ', &size);
    uint64_t n;

    if (!more || !slice_u64(size, &n)) {
        buf_add_str(&s->out, "501 5.5.4 BDAT size [LAST]\r\n");
        return;
    }
    s->chunk_left = n;
    s->chunk_last = slice_eq_nocase(slice_trim(args), SLICE("LAST"));
    s->phase = SINK_CHUNK;
    if (n == 0)
        chunk_feed(s, SLICE_EMPTY, now_ns);
}

static void command(struct sink_session *s, struct slice line, uint64_t now_ns)
{
    static const char ehlo[] = "250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE "
                               "0\r\n250 ENHANCEDSTATUSCODES\r\n";

    if (slice_starts_nocase(line, SLICE("RCPT"))) {
        s->recipients++;
        buf_add_str(&s->out, "250 2.1.5 ok\r\n");
    } else if (slice_starts_nocase(line, SLICE("MAIL"))) {
        s->recipients = 0;
        buf_add_str(&s->out, "250 2.1.0 ok\r\n");
    } else if (slice_starts_nocase(line, SLICE("DATA"))) {
        content_begin(s);
    } else if (slice_starts_nocase(line, SLICE("BDAT "))) {
        chunk_begin(s, slice_from(line, 5), now_ns);
    } else if (slice_starts_nocase(line, SLICE("EHLO"))) {
        buf_add_str(&s->out, ehlo);
    } else if (slice_starts_nocase(line, SLICE("QUIT"))) {
        buf_add_str(&s->out, "221 2.0.0 bye\r\n");
        s->phase = SINK_CLOSING;
    } else {
        buf_add_str(&s->out, "250 2.0.0 ok\r\n");
    }
}

/* Takes one command, or keeps its beginning; the bytes used. */
static size_t command_feed(struct sink_session *s, struct slice in, uint64_t now_ns)
{
    const char *nl = memchr(in.ptr, '\n', in.len);
    size_t n = nl != NULL ? (size_t)(nl - in.ptr) + 1 : in.len;
    struct slice line = slice_head(in, n);

    if (buf_len(&s->in) > 0 || nl == NULL) {
        buf_add(&s->in, line);
        line = buf_bytes(&s->in);
    }
    if (nl == NULL) {
        if (line.len > COMMAND_MAX)
            s->phase = SINK_CLOSING;
        return n;
    }
    line.len--;
    if (line.len > 0 && line.ptr[line.len - 1] == '\r')
        line.len--;
    command(s, line, now_ns);
    buf_clear(&s->in);
    return n;
}

void sink_session_feed(struct sink_session *s, struct slice bytes, uint64_t now_ns)
{
    while (bytes.len > 0 && s->phase != SINK_CLOSING) {
        size_t n;

        if (s->phase == SINK_DATA)
            n = content_feed(s, bytes, now_ns);
        else if (s->phase == SINK_CHUNK)
            n = chunk_feed(s, bytes, now_ns);
        else
            n = command_feed(s, bytes, now_ns);
        bytes = slice_from(bytes, n);
    }
}
