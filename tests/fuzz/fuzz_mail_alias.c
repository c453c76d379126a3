/* Files of aliases in every format: what a name or target says is canonical,
 * and looking it up ends, within its bounds. */
#include "mail/alias.h"
#include "mail/alias_file.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TARGETS_MAX 50u

struct maps {
    struct alias_map *map;
    bool begun;
};

static void check_name(struct slice text)
{
    char again[ALIAS_NAME_MAX + 1];

    assert(alias_name_normalise(text, again) == NULL);
    assert(slice_eq(slice_str(again), text));
}

static void item(void *ctx, const struct alias_item *i)
{
    struct maps *m = ctx;
    struct alias_entry_place first;
    struct mail_path path;

    assert(i->line > 0);
    switch (i->kind) {
    case ALIAS_NAME:
        check_name(i->text);
        m->begun = alias_map_begin(m->map, i->text, (struct alias_entry_place){ "f", i->line }, &first);
        return;
    case ALIAS_ADDRESS:
        assert(mail_address_parse(i->text, 0, &path) == MAIL_PATH_OK);
        assert(slice_eq(mail_path_text(&path), i->text));
        break;
    case ALIAS_LOCAL:
        assert(i->text.len > 0 && i->text.len <= MAIL_ADDRESS_MAX);
        break;
    case ALIAS_DOMAIN:
        assert(i->text.len > 1 && mail_domain_valid(slice_from(i->text, 1)));
        break;
    case ALIAS_INCLUDE:
    case ALIAS_PROBLEM:
        return;
    }
    if (m->begun)
        alias_map_target(m->map,
                         i->kind == ALIAS_ADDRESS ? ALIAS_TO_ADDRESS
                         : i->kind == ALIAS_LOCAL ? ALIAS_TO_LOCAL
                                                  : ALIAS_TO_DOMAIN,
                         i->text, i->final);
}

static void count(void *ctx, struct slice address)
{
    assert(address.len > 0 && address.len <= MAIL_ADDRESS_MAX);
    ++*(unsigned *)ctx;
}

static void look_up_all(const struct alias_map *m, bool passes)
{
    static const struct alias_events ev = { .target = count };
    struct alias_domain domains[] = { { "a.test", passes, false, m }, { "b.test", false, false, NULL } };
    struct alias_rules *r = alias_rules_new(&(struct alias_options){
        .domains = domains, .domain_count = 2, .addresses = m, .delimiter = '+', .targets_max = TARGETS_MAX });

    for (size_t i = 0; i < alias_map_count(m); i++) {
        struct slice name = alias_map_name(m, i);
        struct buf address = { 0 };
        unsigned targets = 0;

        if (mail_address_local(name).len == 0)
            buf_add_str(&address, "x");
        buf_add(&address, name);
        if (mail_address_domain(name).len == 0)
            buf_add_str(&address, "@a.test");
        if (alias_resolve(r, buf_bytes(&address), &ev, &targets) == ALIAS_FOUND)
            assert(targets > 0 && targets <= TARGETS_MAX);
        else
            assert(targets == 0);
        buf_release(&address);
    }
    alias_rules_free(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (unsigned format = ALIAS_FORMAT_ALIASES; format <= ALIAS_FORMAT_RECIPIENTS; format++) {
        struct maps m = { .map = alias_map_new() };

        alias_file_parse(slice_make(data, size), (enum alias_format)format, item, &m);
        look_up_all(m.map, true);
        look_up_all(m.map, false);
        alias_map_free(m.map);
    }
    return 0;
}
