/* tests/transcripts/transcript.h - dialogues as text.
 *
 * A file is read line by line. `#` begins a comment line; empty lines are
 * skipped. Any other line is an item:
 *
 *     K: text        item of kind K
 *     K*300: text    the same, its bytes 300 times over
 *     word text      a directive (kind 'w'), by convention at the top
 *
 * In text \r \n \t \0 \\ and \xNN stand for bytes. C: and S: and D: items end
 * in CR LF; R: (raw) has only what is written.
 */
#ifndef TESTS_TRANSCRIPT_H
#define TESTS_TRANSCRIPT_H

#include "base/buf.h"

struct item {
    char kind;
    char word[24];   /* of a directive */
    struct buf text; /* without CR LF */
    unsigned times;
    unsigned line;
};

struct transcript {
    char *name;
    struct item *items;
    size_t count;
};

struct transcript *transcript_read(const char *path); /* exits with words when it can't */
void transcript_free(struct transcript *t);

/* All *.txt of a folder, sorted by name. */
size_t transcript_read_all(const char *folder, struct transcript ***out);

/* The item's bytes, repeated, with CR LF but for R:. */
void item_bytes(const struct item *it, struct buf *out);
const struct item *transcript_directive(const struct transcript *t, const char *word); /* or NULL */
/* Does text fit the pattern, where '*' stands for anything? */
bool text_fits(struct slice pattern, struct slice text);
void add_escaped(struct buf *out, struct slice bytes); /* as a file writes it */

#endif
