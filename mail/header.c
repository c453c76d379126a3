/* mail/header.c - the header of a message. While content arrives its end is
 * looked for, so that header and body can be stored apart and loops noticed
 * by the number of Received fields; later its fields are walked for logs,
 * notices and policy. */
#include "mail/header.h"

enum {
    AT_LINE, /* at the first byte of a line */
    IN_NAME,
    AFTER_NAME, /* blanks before the colon (RFC 5322 section 4.5.3) */
    IN_VALUE,   /* to the end of the line */
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* RFC 5322 section 2.2: printable ASCII but the colon. */
static bool is_name_byte(char c)
{
    return c > ' ' && c < 0x7f && c != ':';
}

static bool is_control(char c)
{
    return (unsigned char)c < ' ' || c == 0x7f;
}

static void ends(struct mail_header_scan *s, size_t size, bool malformed)
{
    s->size = size;
    s->malformed = malformed;
    s->done = true;
}

static void count_field(struct mail_header_scan *s, struct slice name)
{
    if (slice_eq_nocase(name, SLICE("Received")))
        s->received++;
    else if (slice_eq_nocase(name, SLICE("Delivered-To")))
        s->delivered_to++;
}

/* At the first byte of a line. */
static void scan_line_start(struct mail_header_scan *s, struct slice line)
{
    char c = line.ptr[0];

    if (c == '\n')
        ends(s, s->at + 1, false);
    else if (c == '\r' && line.len > 1 && line.ptr[1] == '\n')
        ends(s, s->at + 2, false);
    else if (is_blank(c) && s->line_start > 0)
        s->state = IN_VALUE;
    else if (is_name_byte(c))
        s->state = IN_NAME;
    else
        ends(s, s->line_start, true);
}

static void scan_name(struct mail_header_scan *s, struct slice all)
{
    while (s->at < all.len && is_name_byte(all.ptr[s->at]))
        s->at++;
    s->name_len = s->at - s->line_start;
    if (s->at < all.len)
        s->state = AFTER_NAME;
}

static void scan_colon(struct mail_header_scan *s, struct slice all)
{
    while (s->at < all.len && is_blank(all.ptr[s->at]))
        s->at++;
    if (s->at == all.len)
        return;
    if (all.ptr[s->at] != ':') {
        ends(s, s->line_start, true);
        return;
    }
    count_field(s, slice_make(all.ptr + s->line_start, s->name_len));
    s->state = IN_VALUE;
}

static void scan_value(struct mail_header_scan *s, struct slice all)
{
    const char *lf = memchr(all.ptr + s->at, '\n', all.len - s->at);

    if (lf == NULL) {
        s->at = all.len;
        return;
    }
    s->at = s->line_start = (size_t)(lf - all.ptr) + 1;
    s->state = AT_LINE;
}

bool mail_header_scan(struct mail_header_scan *s, struct slice all, bool is_end)
{
    while (!s->done && s->at < all.len) {
        switch (s->state) {
        case AT_LINE:
            if (all.ptr[s->at] == '\r' && s->at + 1 == all.len && !is_end)
                return false; /* the next byte decides */
            scan_line_start(s, slice_from(all, s->at));
            break;
        case IN_NAME:
            scan_name(s, all);
            break;
        case AFTER_NAME:
            scan_colon(s, all);
            break;
        default:
            scan_value(s, all);
            break;
        }
    }
    if (!s->done && is_end) {
        if (s->state == IN_NAME || s->state == AFTER_NAME)
            ends(s, s->line_start, true);
        else
            ends(s, all.len, false);
    }
    return s->done;
}

/* The index behind the field that begins at `at`, folds included. */
static size_t field_end(struct slice header, size_t at)
{
    do
        at += slice_find(slice_from(header, at), '\n') + 1;
    while (at < header.len && is_blank(header.ptr[at]));
    return at < header.len ? at : header.len;
}

bool mail_header_next(struct slice header, size_t *at, struct mail_field *out)
{
    struct slice rest = slice_from(header, *at);
    size_t name = 0, colon;

    while (name < rest.len && is_name_byte(rest.ptr[name]))
        name++;
    for (colon = name; colon < rest.len && is_blank(rest.ptr[colon]);)
        colon++;
    if (name == 0 || colon == rest.len || rest.ptr[colon] != ':')
        return false;
    out->name = slice_head(rest, name);
    out->whole = slice_head(rest, field_end(rest, colon));
    out->value = slice_from(out->whole, colon + 1);
    *at += out->whole.len;
    return true;
}

bool mail_header_find(struct slice header, const char *name, struct mail_field *out)
{
    struct slice want = slice_str(name);
    size_t at = 0;

    while (mail_header_next(header, &at, out))
        if (slice_eq_nocase(out->name, want))
            return true;
    return false;
}

void mail_field_unfold(struct slice value, struct buf *out)
{
    bool blank = false, begun = false;

    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i];

        if (is_blank(c)) {
            blank = true;
        } else if (!is_control(c)) {
            if (blank && begun)
                buf_add_byte(out, ' ');
            buf_add_byte(out, c);
            blank = false;
            begun = true;
        }
    }
}

/* The index behind the comment or quoted string that opens at text[at]; its
 * end when it is never closed. */
static size_t skip_quoted(struct slice text, size_t at)
{
    bool comment = text.ptr[at] == '(';
    unsigned depth = 1;

    for (at++; at < text.len && depth > 0; at++) {
        char c = text.ptr[at];

        if (c == '\\')
            at++;
        else if (c == (comment ? ')' : '"'))
            depth--;
        else if (c == '(' && comment)
            depth++;
    }
    return at < text.len ? at : text.len;
}

/* What stands between < and >, if it could be one word of a log line. */
static struct slice bracketed(struct slice text)
{
    struct slice id = slice_trim(slice_head(text, slice_find(text, '>')));

    if (id.len == text.len)
        return SLICE_EMPTY; /* never closed */
    for (size_t i = 0; i < id.len; i++)
        if (is_control(id.ptr[i]) || id.ptr[i] == '<')
            return SLICE_EMPTY;
    return id;
}

struct slice mail_header_message_id(struct slice header)
{
    struct mail_field f;
    size_t i = 0;

    if (!mail_header_find(header, "Message-ID", &f))
        return SLICE_EMPTY;
    while (i < f.value.len) {
        char c = f.value.ptr[i];

        if (c == '<')
            return bracketed(slice_from(f.value, i + 1));
        i = c == '(' || c == '"' ? skip_quoted(f.value, i) : i + 1;
    }
    return SLICE_EMPTY;
}
