/* relayd/settings_frontend.h - the directives of front ends, for the schema. */
#ifndef RELAYD_SETTINGS_FRONTEND_H
#define RELAYD_SETTINGS_FRONTEND_H

#include "conf/conf.h"

/* Into a struct settings_listen. */
void settings_take_proxies(struct conf *c, const struct conf_stmt *s, void *into);
void settings_take_xclients(struct conf *c, const struct conf_stmt *s, void *into);

#endif
