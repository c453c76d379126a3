/* mail/text.c - what strangers wrote, on its way into headers and notices that
 * we write; and the encoding that carries bytes over 127 through places that
 * know only seven bits. */
#include "mail/text.h"

#define LINE_MAX_BYTES 998
#define QP_LINE_MAX    76 /* RFC 2045 section 6.7, rule 5 */

size_t mail_utf8_len(struct slice s)
{
    const unsigned char *b = (const unsigned char *)s.ptr;
    size_t len = b[0] < 0xc2 ? 0 : b[0] < 0xe0 ? 2 : b[0] < 0xf0 ? 3 : b[0] < 0xf5 ? 4 : 0;

    if (len == 0 || s.len < len)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((b[i] & 0xc0) != 0x80)
            return 0;
    if ((b[0] == 0xc2 && b[1] < 0xa0) || (b[0] == 0xe0 && b[1] < 0xa0) ||
        (b[0] == 0xed && b[1] > 0x9f) || (b[0] == 0xf0 && b[1] < 0x90) ||
        (b[0] == 0xf4 && b[1] > 0x8f))
        return 0;
    return len;
}

unsigned mail_utf8_code(struct slice character)
{
    unsigned c = (unsigned char)character.ptr[0] & (0xffu >> (character.len + 1));

    for (size_t i = 1; i < character.len; i++)
        c = c << 6 | ((unsigned char)character.ptr[i] & 0x3f);
    return c;
}

bool mail_is_utf8(struct slice s)
{
    while (s.len > 0) {
        size_t len = (unsigned char)s.ptr[0] > 0x7f ? mail_utf8_len(s) : 1;

        if (len == 0)
            return false;
        s = slice_from(s, len);
    }
    return true;
}

bool mail_has_eight_bit(struct slice s)
{
    uint64_t w;

    for (; s.len >= sizeof w; s = slice_from(s, sizeof w)) {
        memcpy(&w, s.ptr, sizeof w);
        if ((w & 0x8080808080808080ull) != 0)
            return true;
    }
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.ptr[i] > 0x7f)
            return true;
    return false;
}

bool mail_has_long_line(struct slice s)
{
    struct slice line;

    while (slice_split(&s, '\n', &line)) {
        if (line.len > 0 && line.ptr[line.len - 1] == '\r')
            line.len--;
        if (line.len > LINE_MAX_BYTES)
            return true;
    }
    return false;
}

void mail_add_masked(struct buf *out, struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        buf_add_byte(out, (unsigned char)text.ptr[i] > 0x7f ? '?' : text.ptr[i]);
}

void mail_add_clean(struct buf *out, struct slice text, bool utf8_ok)
{
    while (text.len > 0) {
        unsigned char c = (unsigned char)text.ptr[0];
        size_t len = c > 0x7f ? mail_utf8_len(text) : 1;

        if (c < ' ' || c == 0x7f)
            buf_add_byte(out, ' ');
        else if (len == 0 || (c > 0x7f && !utf8_ok))
            buf_add_byte(out, '?');
        else
            buf_add(out, slice_head(text, len));
        text = slice_from(text, len != 0 ? len : 1);
    }
}

void mail_add_hex(struct buf *out, char c)
{
    static const char hex[] = "0123456789ABCDEF";
    unsigned char b = (unsigned char)c;

    buf_add_byte(out, '=');
    buf_add_byte(out, hex[b >> 4]);
    buf_add_byte(out, hex[b & 15]);
}

/* Whether the first byte of rest, at that column, may stand for itself. */
static bool qp_plain(struct slice rest, size_t column)
{
    char c = rest.ptr[0];

    if (c == ' ' || c == '\t') /* lost by some at the end of a line */
        return rest.len > 1 && rest.ptr[1] != '\r' && rest.ptr[1] != '\n';
    if (c < '!' || c > '~' || c == '=')
        return false;
    /* what a dot or "From " begins some take for more than a line of text */
    return column > 0 || (c != '.' && !slice_eq(slice_head(rest, 5), SLICE("From ")));
}

void mail_add_quoted_printable(struct buf *out, struct slice in)
{
    static const struct slice line_end = SLICE("\r\n");
    size_t column = 0;

    while (in.len > 0) {
        bool plain;

        if (slice_eq(slice_head(in, 2), line_end)) {
            buf_add(out, line_end);
            column = 0;
            in = slice_from(in, 2);
            continue;
        }
        plain = qp_plain(in, column);
        if (column + (plain ? 1 : 3) > QP_LINE_MAX - 1) {
            buf_add(out, SLICE("=\r\n"));
            column = 0;
            plain = qp_plain(in, column);
        }
        if (plain)
            buf_add_byte(out, in.ptr[0]);
        else
            mail_add_hex(out, in.ptr[0]);
        column += plain ? 1 : 3;
        in = slice_from(in, 1);
    }
}
