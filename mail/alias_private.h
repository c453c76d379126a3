/* mail/alias_private.h - what the files of aliases share. */
#ifndef MAIL_ALIAS_PRIVATE_H
#define MAIL_ALIAS_PRIVATE_H

#include "mail/alias.h"

/* Texts are offsets, for they move while the map grows. */
struct alias_entry {
    struct alias_entry_place place;
    uint32_t name, name_len;
    uint32_t target, target_count; /* in the map's targets */
};

struct alias_map_target {
    uint32_t text;
    uint16_t text_len;
    uint8_t kind; /* enum alias_target_kind */
    bool final;
};

struct alias_map {
    struct buf text;
    struct alias_entry *entries;
    size_t entry_count, entry_cap;
    struct alias_map_target *targets;
    size_t target_count, target_cap;
    uint32_t *slots;
    size_t slot_count; /* a power of two, or 0 */
};

const struct alias_entry *alias_map_find(const struct alias_map *m, struct slice name); /* or NULL; m may be NULL */
struct slice alias_map_target_text(const struct alias_map *m, const struct alias_map_target *t);

#endif
