/* control/json.h - the small words of which the API's documents are made. */
#ifndef CONTROL_JSON_H
#define CONTROL_JSON_H

#include "base/buf.h"
#include "mail/reply.h"

#include <jansson.h>

/* A string of bytes that may be anything: what is not UTF-8 becomes U+FFFD. */
json_t *json_of_slice(struct slice s);
json_t *json_of_id(uint64_t id); /* a queue id: 16 hex digits */

/* Adds `name` as a string, unless it is empty. */
void json_put_slice(json_t *object, const char *name, struct slice s);
void json_put_number(json_t *object, const char *name, uint64_t n);
/* "name": "2026-11-23T16:05:12.000Z" and "name_ms": since 1970; nothing when it is zero. */
void json_put_time(json_t *object, const char *name, uint64_t wall_ms);
/* code, status and text of a reply, as one object; nothing when there was none. */
void json_put_reply(json_t *object, const char *name, uint32_t code, struct mail_status st, struct slice text);

#endif
