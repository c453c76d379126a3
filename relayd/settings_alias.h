/* relayd/settings_alias.h - the directives of aliases and lists of recipients,
 * for the schema and settings.c. */
#ifndef RELAYD_SETTINGS_ALIAS_H
#define RELAYD_SETTINGS_ALIAS_H

#include "conf/conf.h"
#include "relayd/settings.h"

void settings_take_alias(struct conf *c, const struct conf_stmt *s, void *into);
void settings_take_aliases_file(struct conf *c, const struct conf_stmt *s, void *into);
void settings_take_catch_all(struct conf *c, const struct conf_stmt *s, void *into);
void settings_take_delimiter(struct conf *c, const struct conf_stmt *s, void *into);
void settings_take_recipients(struct conf *c, const struct conf_stmt *s, void *into);
void settings_take_recipients_file(struct conf *c, const struct conf_stmt *s, void *into);
void settings_take_virtual_aliases(struct conf *c, const struct conf_stmt *s, void *into);
void settings_fetched_table(struct conf *c, const struct conf_type *type, const char *path, struct slice bytes);
void settings_finish_aliases(struct conf *c); /* after all is taken */
void settings_check_aliases(const struct settings *s, struct diagnostics *d);
void settings_aliases_free(struct settings_aliases *a); /* NULL is fine */

#endif
