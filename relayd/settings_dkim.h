/* relayd/settings_dkim.h - the DKIM keys of domains: from their files into the
 * bundle, and from there into the settings.
 *
 * The private bytes are BUNDLE_KEY entries, which go to the sign workers only.
 * Each has a BUNDLE_PUBLIC beside it, the record its public half makes or why
 * it makes none, so that everybody else knows what is signed with it. Keys of
 * `dkim auto` live in STATE_DIR/keys; a BUNDLE_LIST of that path and the
 * domain's name tells them.
 */
#ifndef RELAYD_SETTINGS_DKIM_H
#define RELAYD_SETTINGS_DKIM_H

#include "control/view_dkim.h"
#include "relayd/settings_schema.h"

void settings_take_dkim(struct conf *c, const struct conf_stmt *s, void *into); /* into: struct settings_domain */
void settings_fill_dkim(struct settings *s, const struct bundle *b, struct diagnostics *d);

/* Adds the public half of each key that has none yet. */
void settings_publish_keys(struct bundle *b);

/* Brings the keys of all `dkim auto` domains into the bundle; those that are
 * missing are made when `make`, RSA of 2048 bits and Ed25519, readable by the
 * caller only, on disk before this returns. What goes wrong becomes part of
 * the bundle: mail of that domain waits, the rest goes on. */
void settings_auto_keys(const struct settings *s, struct bundle *b, bool make, uint64_t wall_ms);

/* All keys of the domain, of all domains when it is NULL; of one that has none
 * why that is so. */
void settings_each_key(const struct settings *s, const char *domain, control_key_visitor *visit, void *ctx);

bool settings_has_dkim(const struct settings *s);

#endif
