/* tests/transcripts/transcript.c - reads dialogues written as text. */
#include "tests/transcripts/transcript.h"

#include "base/mem.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

static void unescape(struct slice in, struct buf *out)
{
    for (size_t i = 0; i < in.len; i++) {
        char c = in.ptr[i], hex[3] = { 0 };

        if (c != '\\' || i + 1 == in.len) {
            buf_add_byte(out, c);
            continue;
        }
        c = in.ptr[++i];
        if (c == 'x' && i + 2 < in.len) {
            memcpy(hex, in.ptr + i + 1, 2);
            i += 2;
        }
        buf_add_byte(out, c == 'r'   ? '\r'
                          : c == 'n' ? '\n'
                          : c == 't' ? '\t'
                          : c == '0' ? '\0'
                          : c == 'x' ? (char)strtoul(hex, NULL, 16)
                                     : c);
    }
}

void add_escaped(struct buf *out, struct slice bytes)
{
    for (size_t i = 0; i < bytes.len; i++) {
        unsigned char c = (unsigned char)bytes.ptr[i];

        if (c == '\r' || c == '\n' || c == '\t' || c == '\\')
            buf_printf(out, "\\%c", c == '\r' ? 'r' : c == '\n' ? 'n' : c == '\t' ? 't' : '\\');
        else if (c == 0)
            buf_add_str(out, "\\0");
        else if (c < ' ' || c >= 0x7f)
            buf_printf(out, "\\x%02x", c);
        else
            buf_add_byte(out, (char)c);
    }
}

static void parse_item(struct item *it, char *line, const char *path)
{
    char *text;

    it->times = 1;
    if (line[0] >= 'A' && line[0] <= 'Z' && (line[1] == ':' || line[1] == '*')) {
        text = line + 1;
        if (*text == '*')
            it->times = (unsigned)strtoul(text + 1, &text, 10);
        if (*text != ':') {
            printf("Bail out! %s:%u: colon missing\n", path, it->line);
            exit(1);
        }
        it->kind = line[0];
        text++;
    } else {
        it->kind = 'w';
        text = line + strcspn(line, " ");
        snprintf(it->word, sizeof it->word, "%.*s", (int)(text - line), line);
    }
    if (*text == ' ')
        text++;
    unescape(slice_str(text), &it->text);
}

struct transcript *transcript_read(const char *path)
{
    struct transcript *t = mem_new(struct transcript);
    FILE *f = fopen(path, "r");
    char *line = NULL;
    size_t size = 0;
    unsigned number = 0;
    ssize_t len;

    if (f == NULL) {
        printf("Bail out! can't open %s\n", path);
        exit(1);
    }
    t->name = mem_str(strrchr(path, '/') != NULL ? strrchr(path, '/') + 1 : path);
    while ((len = getline(&line, &size, f)) > 0) {
        number++;
        if (line[len - 1] == '\n')
            line[--len] = '\0';
        if (len == 0 || line[0] == '#')
            continue;
        t->items = mem_grow(t->items, t->count + 1, sizeof *t->items);
        t->items[t->count] = (struct item){ .line = number };
        parse_item(&t->items[t->count++], line, path);
    }
    free(line);
    fclose(f);
    return t;
}

void transcript_free(struct transcript *t)
{
    for (size_t i = 0; i < t->count; i++)
        buf_release(&t->items[i].text);
    free(t->items);
    free(t->name);
    free(t);
}

static int is_txt(const struct dirent *d)
{
    return slice_ends_nocase(slice_str(d->d_name), SLICE(".txt"));
}

size_t transcript_read_all(const char *folder, struct transcript ***out)
{
    struct dirent **names = NULL;
    int n = scandir(folder, &names, is_txt, alphasort);

    if (n <= 0) {
        printf("Bail out! no transcripts in %s\n", folder);
        exit(1);
    }
    *out = mem_zero((size_t)n, sizeof **out);
    for (int i = 0; i < n; i++) {
        char path[1024];

        snprintf(path, sizeof path, "%s/%s", folder, names[i]->d_name);
        (*out)[i] = transcript_read(path);
        free(names[i]);
    }
    free(names);
    return (size_t)n;
}

void item_bytes(const struct item *it, struct buf *out)
{
    for (unsigned i = 0; i < it->times; i++) {
        buf_add(out, buf_bytes(&it->text));
        if (it->kind != 'R')
            buf_add(out, SLICE("\r\n"));
    }
}

const struct item *transcript_directive(const struct transcript *t, const char *word)
{
    for (size_t i = 0; i < t->count; i++) {
        if (t->items[i].kind == 'w' && strcmp(t->items[i].word, word) == 0)
            return &t->items[i];
    }
    return NULL;
}

bool text_fits(struct slice pattern, struct slice text)
{
    size_t p = 0, t = 0, star = SIZE_MAX, star_t = 0;

    while (t < text.len) {
        if (p < pattern.len && pattern.ptr[p] == '*') {
            star = p++;
            star_t = t;
        } else if (p < pattern.len && pattern.ptr[p] == text.ptr[t]) {
            p++;
            t++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            t = ++star_t;
        } else {
            return false;
        }
    }
    while (p < pattern.len && pattern.ptr[p] == '*')
        p++;
    return p == pattern.len;
}
