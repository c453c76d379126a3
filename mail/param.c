/* mail/param.c - the values that a client gives in parameters of MAIL and RCPT.
 * They are a stranger's bytes on their way to other servers and into notices:
 * what is not to the letter is refused at the door. */
#include "mail/param.h"

#include "mail/text.h"

#include <stdio.h>
#include <time.h>

#define LAST_SECOND   253402300799 /* 9999-12-31T23:59:59Z: a year has four digits */
#define ADDR_TYPE_MAX 40u /* the longest registered one has 8 bytes */

/* ---- NOTIFY ------------------------------------------------------------------ */

static const struct {
    const char *word;
    uint8_t bit;
} notify_words[] = {
    { "SUCCESS", MAIL_NOTIFY_SUCCESS },
    { "FAILURE", MAIL_NOTIFY_FAILURE },
    { "DELAY", MAIL_NOTIFY_DELAY },
};

bool mail_notify_parse(struct slice text, uint8_t *out)
{
    struct slice word;

    *out = 0;
    if (slice_eq_nocase(text, SLICE("NEVER"))) {
        *out = MAIL_NOTIFY_NEVER;
        return true;
    }
    if (text.len == 0 || text.ptr[text.len - 1] == ',')
        return false;
    while (slice_split(&text, ',', &word)) {
        size_t i = 0;

        while (i < countof(notify_words) && !slice_eq_nocase(word, slice_str(notify_words[i].word)))
            i++;
        if (i == countof(notify_words) || (*out & notify_words[i].bit) != 0)
            return false;
        *out |= notify_words[i].bit;
    }
    return true;
}

const char *mail_notify_format(uint8_t notify, char out[MAIL_NOTIFY_TEXT_MAX])
{
    size_t len = 0;

    out[0] = '\0';
    if ((notify & MAIL_NOTIFY_NEVER) != 0) {
        snprintf(out, MAIL_NOTIFY_TEXT_MAX, "NEVER");
        return out;
    }
    for (size_t i = 0; i < countof(notify_words); i++)
        if ((notify & notify_words[i].bit) != 0)
            len += (size_t)snprintf(out + len, MAIL_NOTIFY_TEXT_MAX - len, "%s%s",
                                    len != 0 ? "," : "", notify_words[i].word);
    return out;
}

bool mail_notify_wants(uint8_t notify, uint8_t what)
{
    if (notify == 0)
        return what != MAIL_NOTIFY_SUCCESS;
    return (notify & what) != 0;
}

/* ---- xtext ------------------------------------------------------------------- */

static int hex_digit(char c)
{
    return ascii_is_digit(c) ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte that "+HH" at the front of text stands for, or -1. */
static int encoded_byte(struct slice text)
{
    int high, low;

    if (text.len < 3 || text.ptr[0] != '+')
        return -1;
    high = hex_digit(text.ptr[1]);
    low = hex_digit(text.ptr[2]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

static bool is_xchar(char c)
{
    return c >= '!' && c <= '~' && c != '+' && c != '=';
}

/* Bytes of the xtext at the front of text, or 0. */
static size_t xtext_unit(struct slice text)
{
    int byte = encoded_byte(text);

    if (is_xchar(text.ptr[0]))
        return 1;
    return byte >= ' ' && byte <= '~' ? 3 : 0;
}

bool mail_xtext_valid(struct slice text)
{
    if (text.len == 0)
        return false;
    while (text.len > 0) {
        size_t len = xtext_unit(text);

        if (len == 0)
            return false;
        text = slice_from(text, len);
    }
    return true;
}

void mail_xtext_decode(struct slice text, struct buf *out)
{
    while (text.len > 0) {
        int byte = encoded_byte(text);

        buf_add_byte(out, byte < 0 ? text.ptr[0] : (char)byte);
        text = slice_from(text, byte < 0 ? 1 : 3);
    }
}

/* ---- ORCPT ------------------------------------------------------------------- */

static bool is_atom(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!ascii_is_alnum(s.ptr[i]) &&
            (s.ptr[i] == '\0' || strchr("!#$%&'*-/?^_`{|}~", s.ptr[i]) == NULL))
            return false;
    return s.len > 0;
}

/* "\x{20AC}": a character named in seven bits; its bytes, or 0 (RFC 6533
 * section 3). What ASCII can say itself need not be named so, but may. */
static size_t named_character(struct slice text)
{
    size_t end = slice_find(text, '}');
    unsigned long code = 0;

    if (!slice_starts_nocase(text, SLICE("\\x{")) || text.ptr[1] != 'x' || end == text.len ||
        end < 5 || end > 9)
        return 0;
    for (size_t i = 3; i < end; i++) {
        int digit = hex_digit(text.ptr[i]);

        if (digit < 0)
            return 0;
        code = code * 16 + (unsigned long)digit;
    }
    return code < ' ' || (code >= 0x7f && code < 0xa0) || (code >= 0xd800 && code < 0xe000) || code > 0x10ffff
               ? 0
               : end + 1;
}

/* One character of an address of type utf-8. A backslash, a plus and an equals
 * sign come as names only. */
static size_t utf8_unit(struct slice text, bool raw)
{
    if (text.ptr[0] == '\\')
        return named_character(text);
    if ((unsigned char)text.ptr[0] > 0x7f)
        return raw ? mail_utf8_len(text) : 0;
    return is_xchar(text.ptr[0]) ? 1 : 0;
}

bool mail_orcpt_valid(struct slice text, bool utf8)
{
    size_t len = slice_find(text, ';');
    struct slice type = slice_head(text, len), address = slice_from(text, len + 1);

    if (text.len > MAIL_ORCPT_MAX || len == text.len || type.len > ADDR_TYPE_MAX || !is_atom(type))
        return false;
    if (!slice_eq_nocase(type, SLICE("utf-8")))
        return mail_xtext_valid(address);
    if (address.len == 0)
        return false;
    while (address.len > 0) {
        size_t unit = utf8_unit(address, utf8);

        if (unit == 0)
            return false;
        address = slice_from(address, unit);
    }
    return true;
}

void mail_orcpt_add_ascii(struct buf *out, struct slice text)
{
    while (text.len > 0) {
        size_t len = (unsigned char)text.ptr[0] > 0x7f ? mail_utf8_len(text) : 0;

        if (len > 0)
            buf_printf(out, "\\x{%X}", mail_utf8_code(slice_head(text, len)));
        else
            buf_add_byte(out, text.ptr[0]);
        text = slice_from(text, len != 0 ? len : 1);
    }
}

/* ---- dates ------------------------------------------------------------------- */

/* Takes `digits` digits and the byte behind them, if there is to be one. */
static bool take_number(struct slice *rest, size_t digits, char after, int *out)
{
    *out = 0;
    if (rest->len < digits + (after != '\0'))
        return false;
    for (size_t i = 0; i < digits; i++) {
        if (!ascii_is_digit(rest->ptr[i]))
            return false;
        *out = *out * 10 + (rest->ptr[i] - '0');
    }
    if (after != '\0' && ascii_lower(rest->ptr[digits]) != ascii_lower(after))
        return false;
    *rest = slice_from(*rest, digits + (after != '\0'));
    return true;
}

/* ".25" in milliseconds; none is 0. */
static bool take_fraction(struct slice *rest, int *ms)
{
    int weight = 100;

    *ms = 0;
    if (rest->len == 0 || rest->ptr[0] != '.')
        return true;
    *rest = slice_from(*rest, 1);
    if (rest->len == 0 || !ascii_is_digit(rest->ptr[0]))
        return false;
    for (; rest->len > 0 && ascii_is_digit(rest->ptr[0]); weight /= 10) {
        *ms += (rest->ptr[0] - '0') * weight;
        *rest = slice_from(*rest, 1);
    }
    return true;
}

/* "Z" or "+hh:mm", which must be all that is left. */
static bool take_zone(struct slice rest, int *minutes)
{
    int hours, rest_minutes, sign;

    *minutes = 0;
    if (slice_eq_nocase(rest, SLICE("Z")))
        return true;
    if (rest.len != 6 || (rest.ptr[0] != '+' && rest.ptr[0] != '-'))
        return false;
    sign = rest.ptr[0] == '-' ? -1 : 1;
    rest = slice_from(rest, 1);
    if (!take_number(&rest, 2, ':', &hours) || !take_number(&rest, 2, '\0', &rest_minutes) ||
        hours > 23 || rest_minutes > 59)
        return false;
    *minutes = sign * (hours * 60 + rest_minutes);
    return true;
}

bool mail_rfc3339_parse(struct slice text, uint64_t *wall_ms)
{
    struct tm tm = { 0 }, back;
    int ms, zone;
    int64_t seconds;
    time_t t;

    if (!take_number(&text, 4, '-', &tm.tm_year) || !take_number(&text, 2, '-', &tm.tm_mon) ||
        !take_number(&text, 2, 'T', &tm.tm_mday) || !take_number(&text, 2, ':', &tm.tm_hour) ||
        !take_number(&text, 2, ':', &tm.tm_min) || !take_number(&text, 2, '\0', &tm.tm_sec) ||
        !take_fraction(&text, &ms) || !take_zone(text, &zone))
        return false;
    if (tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60)
        return false;
    if (tm.tm_sec == 60)
        tm.tm_sec = 59; /* a leap second is not in our count */
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    back = tm;
    t = timegm(&back);
    if (back.tm_mday != tm.tm_mday || back.tm_mon != tm.tm_mon || back.tm_year != tm.tm_year)
        return false; /* there is no such day */
    seconds = (int64_t)t - (int64_t)zone * 60;
    if (seconds > LAST_SECOND)
        return false;
    *wall_ms = seconds < 0 ? 0 : (uint64_t)seconds * SECOND_MS + (uint64_t)ms;
    return true;
}

const char *mail_rfc3339_format(uint64_t wall_ms, char out[MAIL_RFC3339_MAX])
{
    time_t seconds = (time_t)(wall_ms / SECOND_MS);
    struct tm tm = { 0 };

    gmtime_r(&seconds, &tm);
    strftime(out, MAIL_RFC3339_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return out;
}
