/* conf/value.h - the units of the configuration: times, sizes, rates, numbers.
 *
 * Each function takes all of the text or fails and says why in *why, a static
 * text that completes "…: ".
 */
#ifndef CONF_VALUE_H
#define CONF_VALUE_H

#include "base/slice.h"

struct conf_rate {
    uint64_t count;
    uint64_t per_ms;
};

bool conf_value_number(struct slice text, uint64_t *out, const char **why);
/* "500ms" "30s" "5m" "4h" "5d", "0"; in milliseconds. */
bool conf_value_duration(struct slice text, uint64_t *out_ms, const char **why);
/* "1000" "64k" "64K" "64KiB" "20M" "1G" "1T"; powers of 1024, in bytes. */
bool conf_value_size(struct slice text, uint64_t *out, const char **why);
/* "30/min": per s, sec, m, min, h, hour, d or day. */
bool conf_value_rate(struct slice text, struct conf_rate *out, const char **why);
/* yes, on, true; no, off, false. */
bool conf_value_switch(struct slice text, bool *out, const char **why);
/* "2", "1.5", "0.25": in hundredths; at most two digits behind the point. */
bool conf_value_hundredths(struct slice text, uint64_t *out, const char **why);

#endif
