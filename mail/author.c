/* mail/author.c - the first address in a From field (RFC 5322 section 3.4),
 * among names, comments, groups and quotes. */
#include "mail/author.h"

#include "mail/header.h"

#define FROM_MAX (64u * KIB) /* of a field that is looked at */

/* Behind the comment that opens at text[at]; comments nest. */
static size_t skip_comment(struct slice text, size_t at)
{
    unsigned depth = 0;

    for (; at < text.len; at++) {
        if (text.ptr[at] == '\\')
            at++;
        else if (text.ptr[at] == '(')
            depth++;
        else if (text.ptr[at] == ')' && --depth == 0)
            return at + 1;
    }
    return text.len;
}

/* Takes over a quoted string with its quotes; the index behind it. */
static size_t take_quoted(struct slice text, size_t at, struct buf *out)
{
    size_t begin = at;

    for (at++; at < text.len && text.ptr[at] != '"'; at++)
        if (text.ptr[at] == '\\')
            at++;
    at = at < text.len ? at + 1 : text.len;
    buf_add(out, slice_make(text.ptr + begin, at - begin));
    return at;
}

/* What could be the first address, without brackets, blanks and comments. */
static void first_address(struct slice text, struct buf *out)
{
    bool bracketed = false;

    for (size_t at = 0; at < text.len;) {
        char c = text.ptr[at];

        if (c == '(') {
            at = skip_comment(text, at);
            continue;
        }
        if (c == '"') {
            at = take_quoted(text, at, out);
            continue;
        }
        at++;
        if (c == '<' && !bracketed) {
            buf_clear(out); /* that was the name */
            bracketed = true;
        } else if (c == '>' && bracketed) {
            return;
        } else if (!bracketed && (c == ',' || c == ';')) {
            if (slice_find(buf_bytes(out), '@') < buf_len(out))
                return;
            buf_clear(out); /* an empty place in the list */
        } else if (!bracketed && c == ':') {
            buf_clear(out); /* that was a group's name */
        } else if (c != ' ' && c != '\t' && c != '\r' && c != '\n') {
            buf_add_byte(out, c);
        }
    }
}

bool mail_author_domain(struct slice header, char out[MAIL_DOMAIN_MAX + 1])
{
    struct buf text = { 0 };
    struct mail_field from;
    struct mail_path path;
    bool ok;

    if (!mail_header_find(header, "From", &from) || from.value.len > FROM_MAX)
        return false;
    first_address(from.value, &text);
    ok = mail_address_parse(buf_bytes(&text), MAIL_PATH_UTF8_OK, &path) == MAIL_PATH_OK && !path.literal &&
         mail_path_domain(&path).len != 0 && mail_domain_to_ascii(mail_path_domain(&path), out);
    buf_release(&text);
    return ok;
}
