/* relayd/delivery_settings.h - the delivery policy that the settings ask for. */
#ifndef RELAYD_DELIVERY_SETTINGS_H
#define RELAYD_DELIVERY_SETTINGS_H

#include "delivery/policy.h"
#include "relayd/settings.h"

/* Holds a reference to s; policy_unref() it. */
struct delivery_policy *delivery_policy_new(const struct settings *s);

#endif
