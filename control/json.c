/* control/json.c - values of records as JSON. */
#include "control/json.h"

#include "queue/id.h"

#include <stdio.h>
#include <time.h>

/* The length of the UTF-8 character at the front of s; 0 if there is none
 * (RFC 3629 section 4: no overlong forms, no surrogates). */
static size_t utf8_length(struct slice s)
{
    unsigned char c = (unsigned char)s.ptr[0];
    unsigned char low = 0x80, high = 0xbf;
    size_t len;

    if (c < 0x80)
        return 1;
    if (c >= 0xc2 && c <= 0xdf) {
        len = 2;
    } else if ((c & 0xf0) == 0xe0) {
        len = 3;
        low = c == 0xe0 ? 0xa0 : low;
        high = c == 0xed ? 0x9f : high;
    } else if (c >= 0xf0 && c <= 0xf4) {
        len = 4;
        low = c == 0xf0 ? 0x90 : low;
        high = c == 0xf4 ? 0x8f : high;
    } else {
        return 0;
    }
    if (s.len < len)
        return 0;
    for (size_t i = 1; i < len; i++) {
        unsigned char next = (unsigned char)s.ptr[i];

        if (next < low || next > high)
            return 0;
        low = 0x80;
        high = 0xbf;
    }
    return len;
}

json_t *json_of_slice(struct slice s)
{
    struct buf clean = { 0 };
    json_t *out;

    while (s.len > 0) {
        size_t len = utf8_length(s);

        if (len > 0)
            buf_add(&clean, slice_head(s, len));
        else
            buf_add_str(&clean, "\xef\xbf\xbd");
        s = slice_from(s, len > 0 ? len : 1);
    }
    out = json_stringn(buf_cstr(&clean), buf_len(&clean));
    buf_release(&clean);
    return out;
}

json_t *json_of_id(uint64_t id)
{
    char text[QUEUE_ID_TEXT_MAX];

    return json_string(queue_id_format(id, text));
}

void json_put_slice(json_t *object, const char *name, struct slice s)
{
    if (s.len != 0)
        json_object_set_new(object, name, json_of_slice(s));
}

void json_put_number(json_t *object, const char *name, uint64_t n)
{
    json_object_set_new(object, name, json_integer((json_int_t)n));
}

void json_put_time(json_t *object, const char *name, uint64_t wall_ms)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    char text[64], name_ms[64];

    if (wall_ms == 0 || gmtime_r(&seconds, &tm) == NULL)
        return;
    snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03uZ", tm.tm_year + 1900, tm.tm_mon + 1,
             tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (unsigned)(wall_ms % 1000));
    json_object_set_new(object, name, json_string(text));
    snprintf(name_ms, sizeof name_ms, "%s_ms", name);
    json_put_number(object, name_ms, wall_ms);
}

void json_put_reply(json_t *object, const char *name, uint32_t code, struct mail_status st, struct slice text)
{
    char status[16];
    json_t *reply;

    if (code == 0 && st.class_ == 0 && text.len == 0)
        return;
    reply = json_object();
    if (code != 0)
        json_put_number(reply, "code", code);
    if (st.class_ != 0)
        json_object_set_new(reply, "status", json_string(mail_status_format(st, status)));
    json_put_slice(reply, "text", text);
    json_object_set_new(object, name, reply);
}
