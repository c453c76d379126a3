/* mail/address_list.c - who a message says it is from: read where a submission
 * may only carry the sender's own addresses, where one is rewritten, and for
 * whose domain signs. All of them must read the same. */
#include "mail/address_list.h"

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The index behind the quoted string, comment or domain literal that opens at
 * text[at]; the end when it is never closed. */
static size_t skip_enclosed(struct slice text, size_t at)
{
    char open = text.ptr[at];
    char close = open == '(' ? ')' : open == '[' ? ']' : '"';
    size_t depth = 1;

    for (at++; at < text.len && depth > 0; at++) {
        char c = text.ptr[at];

        if (c == '\\')
            at++;
        else if (c == close)
            depth--;
        else if (c == '(' && open == '(')
            depth++;
    }
    return at < text.len ? at : text.len;
}

static bool opens(char c)
{
    return c == '"' || c == '(' || c == '[';
}

/* Reads tokens up to one of the bytes of `stops`, which *at then points to;
 * *m spans the first to the last that is neither blank nor comment. */
static void read_span(struct slice value, size_t *at, const char *stops, struct mail_mailbox *m)
{
    *m = (struct mail_mailbox){ *at, *at };
    while (*at < value.len) {
        char c = value.ptr[*at];
        size_t from = *at;

        if (c != '\0' && strchr(stops, c) != NULL)
            return;
        *at = opens(c) ? skip_enclosed(value, from) : from + 1;
        if (c == '(' || is_space(c))
            continue;
        if (m->begin == m->end)
            m->begin = from;
        m->end = *at;
    }
}

/* "@a,@b:user@c": a route that nobody uses any more (RFC 5322 section 4.4). */
static void drop_route(struct slice value, struct mail_mailbox *m)
{
    struct slice text = slice_make(value.ptr + m->begin, m->end - m->begin);
    size_t colon = slice_find(text, ':');

    if (text.len > 0 && text.ptr[0] == '@' && colon < text.len)
        m->begin += colon + 1;
}

/* What is never closed does not take the line's end with it. */
static struct slice without_line_end(struct slice value)
{
    while (value.len > 0 && (value.ptr[value.len - 1] == '\n' || value.ptr[value.len - 1] == '\r'))
        value.len--;
    return value;
}

bool mail_mailbox_next(struct slice value, size_t *at, struct mail_mailbox *out)
{
    value = without_line_end(value);
    while (*at < value.len) {
        struct mail_mailbox name;

        read_span(value, at, ",:;<", out);
        if (*at < value.len && value.ptr[*at] == '<') {
            ++*at;
            read_span(value, at, ">", out);
            drop_route(value, out);
            read_span(value, at, ",;", &name); /* and what stands behind it */
        }
        if (*at < value.len && value.ptr[*at] == ':')
            out->end = out->begin; /* the name of a group */
        ++*at;
        if (out->end > out->begin)
            return true;
    }
    return false;
}

void mail_mailbox_address(struct slice value, const struct mail_mailbox *m, const char *domain, struct buf *out)
{
    struct slice text = slice_make(value.ptr + m->begin, m->end - m->begin);
    bool has_domain = false;

    for (size_t i = 0; i < text.len;) {
        char c = text.ptr[i];
        size_t next = opens(c) ? skip_enclosed(text, i) : i + 1;

        if (c != '(' && !is_space(c))
            buf_add(out, slice_make(text.ptr + i, next - i));
        has_domain = has_domain || c == '@';
        i = next;
    }
    if (!has_domain) {
        buf_add_byte(out, '@');
        buf_add_str(out, domain);
    }
}
