/* relayd/settings_alias_inside.h - what the files of settings_alias.h share:
 * settings_alias.c takes the directives, settings_alias_file.c the files they
 * name, settings_alias_check.c tries what has come of it.
 */
#ifndef RELAYD_SETTINGS_ALIAS_INSIDE_H
#define RELAYD_SETTINGS_ALIAS_INSIDE_H

#include "mail/alias.h"
#include "mail/alias_file.h"
#include "relayd/settings_alias.h"
#include "relayd/settings_schema.h"

#define ALIAS_WARNINGS_MAX 20u /* of one kind; then they are counted */

struct settings_aliases {
    struct alias_map *addresses;  /* of all domains: "user@domain", "@domain" */
    struct alias_map *recipients; /* likewise, of those that list them */
    struct names_file {           /* aliases files; several domains may share one */
        const char *path;
        struct alias_map *map;
    } *files;
    size_t file_count;
    struct alias_rules *rules;
};

struct settings_aliases *settings_aliases_of(struct conf *c); /* made when first asked for */

/* False: it is no target, but a problem or the name of a file. */
bool settings_alias_add_target(struct alias_map *map, const struct alias_item *i);

/* "name" or "name@domain" of that domain, as an address; or why not. */
bool settings_alias_address_in(struct slice name, const char *domain, char out[ALIAS_NAME_MAX + 1], const char **why);

#endif
