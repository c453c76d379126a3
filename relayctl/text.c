/* relayctl/text.c - times, sizes, names and colours for people. */
#include "relayctl/text.h"

#include <inttypes.h>
#include <time.h>

void text_span(struct buf *out, uint64_t ms)
{
    uint64_t s = ms / SECOND_MS, m = s / 60, h = m / 60, d = h / 24;

    if (s == 0)
        buf_add_str(out, "now");
    else if (m == 0)
        buf_printf(out, "%" PRIu64 "s", s);
    else if (h == 0)
        buf_printf(out, "%" PRIu64 "m", m);
    else if (d == 0)
        buf_printf(out, m % 60 != 0 ? "%" PRIu64 "h%" PRIu64 "m" : "%" PRIu64 "h", h, m % 60);
    else
        buf_printf(out, h % 24 != 0 ? "%" PRIu64 "d%" PRIu64 "h" : "%" PRIu64 "d", d, h % 24);
}

void text_size(struct buf *out, uint64_t bytes)
{
    static const char units[] = " KMGTP";
    uint64_t tenths = bytes * 10;
    size_t unit = 0;

    if (bytes >= UINT64_MAX / 10)
        tenths = UINT64_MAX;
    while (tenths >= 10240 && unit + 2 < sizeof units) {
        tenths /= 1024;
        unit++;
    }
    if (unit == 0)
        buf_printf(out, "%" PRIu64, bytes);
    else if (tenths < 100)
        buf_printf(out, "%" PRIu64 ".%" PRIu64 "%c", tenths / 10, tenths % 10, units[unit]);
    else
        buf_printf(out, "%" PRIu64 "%c", tenths / 10, units[unit]);
}

void text_time(struct buf *out, uint64_t wall_ms)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    char text[64];

    if (localtime_r(&seconds, &tm) == NULL || strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &tm) == 0)
        buf_printf(out, "%" PRIu64, wall_ms);
    else
        buf_printf(out, "%s.%03u", text, (unsigned)(wall_ms % 1000));
}

/* C0, DEL, and C1 in its two bytes of UTF-8. */
void text_clean(struct buf *out, const char *s)
{
    for (; *s != '\0'; s++) {
        unsigned char c = (unsigned char)*s, next = (unsigned char)s[1];

        if (c == 0xc2 && next >= 0x80 && next < 0xa0) {
            buf_printf(out, "\\x%02x", next);
            s++;
        } else if (c == '\n') {
            buf_add_byte(out, ' ');
        } else if (c < 0x20 || c == 0x7f) {
            buf_printf(out, "\\x%02x", c);
        } else {
            buf_add_byte(out, *s);
        }
    }
}

size_t text_width(struct slice s)
{
    size_t n = 0;

    for (size_t i = 0; i < s.len; i++)
        n += ((unsigned char)s.ptr[i] & 0xc0) != 0x80;
    return n;
}

const char *text_of(const json_t *object, const char *name)
{
    const char *s = json_string_value(json_object_get(object, name));

    return s != NULL ? s : "";
}

uint64_t number_of(const json_t *object, const char *name)
{
    return (uint64_t)json_integer_value(json_object_get(object, name));
}

void text_reply(struct buf *out, const json_t *reply)
{
    const char *status = text_of(reply, "status"), *text = text_of(reply, "text");
    const char *gap = "";

    if (reply == NULL)
        return;
    if (number_of(reply, "code") != 0) {
        buf_printf(out, "%" PRIu64, number_of(reply, "code"));
        gap = " ";
    }
    /* Many a text begins with the status itself. */
    if (*status != '\0' && !slice_starts_nocase(slice_str(text), slice_str(status))) {
        buf_printf(out, "%s%s", gap, status);
        gap = " ";
    }
    if (*text != '\0') {
        buf_add_str(out, gap);
        text_clean(out, text);
    }
}

void text_count(struct buf *out, uint64_t n, const char *what)
{
    buf_printf(out, "%" PRIu64 " %s%s", n, what, n == 1 ? "" : "s");
}

const char *style_begin(bool color, enum text_style style)
{
    static const char *const codes[] = {
        [STYLE_PLAIN] = "",          [STYLE_BOLD] = "\033[1m",   [STYLE_GOOD] = "\033[32m",
        [STYLE_WARN] = "\033[33m",   [STYLE_BAD] = "\033[31m",   [STYLE_DIM] = "\033[2m",
    };

    return color ? codes[style] : "";
}

const char *style_end(bool color, enum text_style style)
{
    return color && style != STYLE_PLAIN ? "\033[0m" : "";
}

enum text_style style_of_word(const char *word)
{
    static const struct {
        const char *word;
        enum text_style style;
    } words[] = {
        { "delivered", STYLE_GOOD }, { "deferred", STYLE_WARN }, { "in doubt", STYLE_WARN },
        { "delayed", STYLE_WARN },   { "bounced", STYLE_BAD },   { "expired", STYLE_BAD },
        { "dropped", STYLE_BAD },    { "damaged", STYLE_BAD },   { "unreadable", STYLE_BAD },
        { "held", STYLE_WARN },      { "active", STYLE_GOOD },   { "deleted", STYLE_BAD },
        { "broken", STYLE_BAD },     { "low", STYLE_WARN },     { "full", STYLE_BAD },
        { "short", STYLE_WARN },
    };

    for (size_t i = 0; i < countof(words); i++)
        if (strcmp(words[i].word, word) == 0)
            return words[i].style;
    return STYLE_PLAIN;
}
