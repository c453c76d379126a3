/* mail/param.h - what stands in the parameters of MAIL and RCPT (RFC 3461,
 * 4865, 6533). Pure.
 *
 * ENVID and ORCPT are kept as they came, in xtext: so they go on to the next
 * hop byte for byte, and no byte of them can end a line.
 */
#ifndef MAIL_PARAM_H
#define MAIL_PARAM_H

#include "base/buf.h"

#define MAIL_ENVID_MAX 100u /* RFC 3461 section 4.4 */
#define MAIL_ORCPT_MAX 500u /* section 4.2 */

enum { /* NOTIFY of a recipient; 0: none was given */
    MAIL_NOTIFY_NEVER = 1,
    MAIL_NOTIFY_SUCCESS = 2,
    MAIL_NOTIFY_FAILURE = 4,
    MAIL_NOTIFY_DELAY = 8,
};

struct mail_wish { /* what a sender asks for one recipient */
    uint8_t notify;        /* MAIL_NOTIFY_* */
    struct slice original; /* ORCPT, "type;xtext" as given; or empty */
};

enum mail_return { MAIL_RETURN_UNSPECIFIED, MAIL_RETURN_FULL, MAIL_RETURN_HEADER }; /* RET */

/* "NEVER", or some of SUCCESS, FAILURE and DELAY, each once. */
bool mail_notify_parse(struct slice text, uint8_t *out);
/* As NOTIFY= has it; "" for 0. */
#define MAIL_NOTIFY_TEXT_MAX 24
const char *mail_notify_format(uint8_t notify, char out[MAIL_NOTIFY_TEXT_MAX]);

/* What is to be told of a recipient with this NOTIFY (section 4.1): failures
 * and delays also when nothing was said. */
bool mail_notify_wants(uint8_t notify, uint8_t what);

/* xtext (section 4): printable ASCII but "+" and "=", and "+HH" for any byte;
 * here only if it stands for printable ASCII or a blank. */
bool mail_xtext_valid(struct slice text);
void mail_xtext_decode(struct slice text, struct buf *out); /* what is no xtext stays as it is */

/* "type;xtext"; with utf8 also "utf-8;" and bare UTF-8 (RFC 6533 section 3). */
bool mail_orcpt_valid(struct slice text, bool utf8);
/* The same in ASCII: characters of other scripts as "\x{HEX}", which any hop takes. */
void mail_orcpt_add_ascii(struct buf *out, struct slice text);

/* "2026-11-27T02:34:19.5Z", "…+01:00" (RFC 3339); before 1970 is 0. */
bool mail_rfc3339_parse(struct slice text, uint64_t *wall_ms);
#define MAIL_RFC3339_MAX 32
const char *mail_rfc3339_format(uint64_t wall_ms, char out[MAIL_RFC3339_MAX]);

#endif
