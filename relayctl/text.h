/* relayctl/text.h - what numbers and foreign bytes look like to people. */
#ifndef RELAYCTL_TEXT_H
#define RELAYCTL_TEXT_H

#include "base/buf.h"

#include <jansson.h>

/* "now" "12s" "5m" "3h10m" "4d2h" */
void text_span(struct buf *out, uint64_t ms);
/* "512" "1.2K" "48M" */
void text_size(struct buf *out, uint64_t bytes);
/* "2026-11-23 17:05:12.345" in local time */
void text_time(struct buf *out, uint64_t wall_ms);
/* Foreign text: control characters, which could move a terminal's cursor, as \xNN. */
void text_clean(struct buf *out, const char *s);
/* Columns that UTF-8 text takes, near enough: its characters. */
size_t text_width(struct slice s);
/* "451 4.3.0 try later" of a reply object; nothing of NULL. */
void text_reply(struct buf *out, const json_t *reply);

/* Members of an object; "" and 0 when missing. */
const char *text_of(const json_t *object, const char *name);
uint64_t number_of(const json_t *object, const char *name);

/* "1 message", "2 messages" */
void text_count(struct buf *out, uint64_t n, const char *what);

/* On a terminal that wants it; else nothing is added. */
enum text_style { STYLE_PLAIN, STYLE_BOLD, STYLE_GOOD, STYLE_WARN, STYLE_BAD, STYLE_DIM };
const char *style_begin(bool color, enum text_style style);
const char *style_end(bool color, enum text_style style);
enum text_style style_of_word(const char *word); /* a state or an event */

#endif
