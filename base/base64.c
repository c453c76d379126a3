/* base/base64.c - the spelling of bytes in AUTH's challenges and responses. */
#include "base/base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_add(struct buf *out, struct slice bytes)
{
    char *to = buf_reserve(out, (bytes.len + 2) / 3 * 4);
    char *begin = to;

    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t left = bytes.len - i;
        uint32_t group = (uint32_t)(unsigned char)bytes.ptr[i] << 16;

        if (left > 1)
            group |= (uint32_t)(unsigned char)bytes.ptr[i + 1] << 8;
        if (left > 2)
            group |= (unsigned char)bytes.ptr[i + 2];
        *to++ = alphabet[group >> 18];
        *to++ = alphabet[group >> 12 & 63];
        *to++ = left > 1 ? alphabet[group >> 6 & 63] : '=';
        *to++ = left > 2 ? alphabet[group & 63] : '=';
    }
    buf_extend(out, (size_t)(to - begin));
}

/* 0 to 63, or -1. No table: its reads would tell a secret's bytes by time. */
static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Four characters, of which the last `padding` are "=". */
static bool decode_group(const char *text, size_t padding, char **to)
{
    uint32_t group = 0;

    for (size_t i = 0; i < 4 - padding; i++) {
        int value = value_of(text[i]);

        if (value < 0)
            return false;
        group |= (uint32_t)value << (18 - 6 * i);
    }
    if ((group & (padding == 2 ? 0xffffu : padding == 1 ? 0xffu : 0u)) != 0)
        return false;
    for (size_t i = 0; i < 3 - padding; i++)
        *(*to)++ = (char)(group >> (16 - 8 * i));
    return true;
}

bool base64_decode(struct slice text, struct buf *out)
{
    size_t padding = 0;
    char *begin, *to;

    if (text.len % 4 != 0)
        return false;
    while (padding < 2 && padding < text.len && text.ptr[text.len - 1 - padding] == '=')
        padding++;
    begin = to = buf_reserve(out, text.len / 4 * 3);
    for (size_t i = 0; i < text.len; i += 4) {
        if (!decode_group(text.ptr + i, i + 4 == text.len ? padding : 0, &to)) {
            explicit_bzero(begin, (size_t)(to - begin));
            return false;
        }
    }
    buf_extend(out, (size_t)(to - begin));
    return true;
}
