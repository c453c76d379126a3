/* control/accounts_json.h - the users' admin in JSON: for the API and, with
 * the daemon down, for relayctl, so that both say the same. */
#ifndef CONTROL_ACCOUNTS_JSON_H
#define CONTROL_ACCOUNTS_JSON_H

#include "auth/accounts_admin.h"
#include "control/json.h"

/* {"name": "text", …} becomes the bytes of a request; true stands for "yes",
 * false for "no", numbers for themselves. False: *why says what is wrong. */
bool accounts_request_of_json(struct slice op, const json_t *body, struct buf *request, const char **why);

/* The body's copies of passwords, before it is let go. */
void accounts_wipe_json(json_t *body);

/* {"text": …, "rows": [{…}, …]}, or NULL when it is no answer. */
json_t *accounts_answer_json(struct slice answer, enum admin_status *status);

#endif
