/* relayd/channel_inside.h - what the files of channel.h share: channel.c carries
 * messages in packets, channel_message.c knows what is in them.
 */
#ifndef RELAYD_CHANNEL_INSIDE_H
#define RELAYD_CHANNEL_INSIDE_H

#include "relayd/channel.h"

enum payload_shape { SHAPE_EMPTY, SHAPE_TEXT, SHAPE_OUTCOME, SHAPE_STOP, SHAPE_CONFIG, SHAPE_LINK };

struct channel_rule {
    const char *name;
    enum channel_side from;
    enum payload_shape shape;
    bool has_fds;
};

/* channel_message.c */
const struct channel_rule *channel_rule_of(unsigned type); /* NULL: there is no such message */
/* The payload of a whole message by its shape; false when it does not fit. What
 * is taken of the descriptors is -1 there afterwards. */
bool channel_decode(struct channel_message *m, int *fds, size_t fd_count);

/* channel.c */
MUST_CHECK struct err channel_send_message(struct channel *c, enum channel_type type, uint32_t serial,
                                           struct slice payload, const int *fds, size_t fd_count);

#endif
