/* mail/reply.c - what a next hop says to each of our commands. The words come
 * from a stranger and end up in logs, in the queue and in notices to people:
 * they are bounded and freed of control bytes here. */
#include "mail/reply.h"

#include <stdio.h>

#define CODE_DIGITS 3u

/* 1 to 3 digits without a leading zero (RFC 3463 section 2). */
static bool take_number(struct slice text, size_t *at, uint16_t *out)
{
    size_t begin = *at;
    unsigned n = 0;

    while (*at < text.len && *at - begin < 3 && ascii_is_digit(text.ptr[*at]))
        n = n * 10 + (unsigned)(text.ptr[(*at)++] - '0');
    *out = (uint16_t)n;
    return *at > begin && (text.ptr[begin] != '0' || *at == begin + 1);
}

static bool take_dot(struct slice text, size_t *at)
{
    return *at < text.len && text.ptr[(*at)++] == '.';
}

/* Some servers begin a reply with an IP address or a version: "4.4.4.4" and
 * "5.1.1234" are no codes. */
static bool number_goes_on(struct slice text, size_t at)
{
    if (at < text.len && text.ptr[at] == '.')
        at++;
    return at < text.len && ascii_is_digit(text.ptr[at]);
}

bool mail_status_parse(struct slice text, struct mail_status *out, size_t *used)
{
    struct mail_status st = { 0 };
    size_t at = 1;

    if (text.len == 0 || (text.ptr[0] != '2' && text.ptr[0] != '4' && text.ptr[0] != '5'))
        return false;
    st.class_ = (uint16_t)(text.ptr[0] - '0');
    if (!take_dot(text, &at) || !take_number(text, &at, &st.subject) || !take_dot(text, &at) ||
        !take_number(text, &at, &st.detail) || number_goes_on(text, at))
        return false;
    *out = st;
    *used = at;
    return true;
}

const char *mail_status_format(struct mail_status st, char out[16])
{
    snprintf(out, 16, "%u.%u.%u", st.class_ % 10u, st.subject % 1000u, st.detail % 1000u);
    return out;
}

struct mail_status mail_status_of_code(unsigned code)
{
    unsigned class_ = code / 100;

    if (class_ == 2 || class_ == 4 || class_ == 5)
        return (struct mail_status){ (uint16_t)class_, 0, 0 };
    return (struct mail_status){ 0 };
}

static void add_text(struct buf *out, struct slice text, bool first)
{
    size_t room = MAIL_REPLY_TEXT_MAX - buf_len(out);

    if (!first && room > 0) {
        buf_add_byte(out, '\n');
        room--;
    }
    for (size_t i = 0; i < text.len && room > 0; i++) {
        char c = text.ptr[i] == '\t' ? ' ' : text.ptr[i];

        if ((unsigned char)c < ' ' || c == 0x7f)
            continue;
        buf_add_byte(out, c);
        room--;
    }
}

/* 200 to 599 at the front of a line, or 0. */
static unsigned line_code(struct slice line)
{
    if (line.len < CODE_DIGITS || line.ptr[0] < '2' || line.ptr[0] > '5' ||
        !ascii_is_digit(line.ptr[1]) || !ascii_is_digit(line.ptr[2]))
        return 0;
    return (unsigned)(line.ptr[0] - '0') * 100 + (unsigned)(line.ptr[1] - '0') * 10 +
           (unsigned)(line.ptr[2] - '0');
}

/* The code that the text itself gives counts when its class agrees with the
 * reply's (RFC 2034 section 4). */
static struct mail_status reply_status(unsigned code, struct slice text)
{
    struct mail_status st;
    size_t used;

    if (mail_status_parse(text, &st, &used) && st.class_ == code / 100)
        return st;
    return mail_status_of_code(code);
}

static enum mail_reply_result take_line(struct mail_reply_reader *r, struct slice line)
{
    struct mail_reply *reply = &r->reply;
    bool first = r->lines == 0;
    unsigned code;
    char mark;

    if (line.len > 0 && line.ptr[line.len - 1] == '\r')
        line.len--;
    code = line_code(line);
    mark = line.len > CODE_DIGITS ? line.ptr[CODE_DIGITS] : ' ';
    if (line.len > MAIL_REPLY_LINE_MAX || r->lines == MAIL_REPLY_LINES_MAX || code == 0 ||
        (mark != ' ' && mark != '-') || (!first && code != reply->code))
        return MAIL_REPLY_BAD;
    r->lines++;
    reply->code = code;
    line = slice_from(line, CODE_DIGITS + 1);
    if (first)
        reply->status = reply_status(code, line);
    add_text(&reply->text, line, first);
    r->complete = mark == ' ';
    return r->complete ? MAIL_REPLY_DONE : MAIL_REPLY_MORE;
}

enum mail_reply_result mail_reply_feed(struct mail_reply_reader *r, struct slice in, size_t *used)
{
    enum mail_reply_result result = r->complete ? MAIL_REPLY_DONE : MAIL_REPLY_MORE;
    struct slice rest = in;

    while (result == MAIL_REPLY_MORE && rest.len > 0) {
        size_t lf = slice_find(rest, '\n');
        struct slice line = slice_head(rest, lf);

        if (lf == rest.len || buf_len(&r->line) > 0) {
            /* one byte more than a line may have is enough to know */
            buf_add(&r->line, slice_head(line, MAIL_REPLY_LINE_MAX + 2 - buf_len(&r->line)));
            line = buf_bytes(&r->line);
        }
        if (lf == rest.len) {
            rest = slice_from(rest, lf);
            if (line.len > MAIL_REPLY_LINE_MAX + 1) /* the CR may be among them */
                result = MAIL_REPLY_BAD;
            break;
        }
        rest = slice_from(rest, lf + 1);
        result = take_line(r, line);
        buf_clear(&r->line);
    }
    *used = in.len - rest.len;
    return result;
}

void mail_reply_reader_next(struct mail_reply_reader *r)
{
    buf_clear(&r->line);
    buf_clear(&r->reply.text);
    r->reply.code = 0;
    r->reply.status = (struct mail_status){ 0 };
    r->lines = 0;
    r->complete = false;
}

void mail_reply_reader_release(struct mail_reply_reader *r)
{
    buf_release(&r->line);
    mail_reply_release(&r->reply);
}

void mail_reply_release(struct mail_reply *r)
{
    buf_release(&r->text);
}
