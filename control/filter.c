/* control/filter.c - criteria of a selection, as the API and relayctl take them. */
#include "control/filter.h"

#include "base/mem.h"
#include "conf/value.h"
#include "mail/path.h"
#include "queue/id.h"

#include <stdlib.h>

static const struct {
    const char *name;
    enum filter_state state;
} states[] = {
    { "any", FILTER_ANY },         { "queued", FILTER_QUEUED }, { "held", FILTER_HELD },
    { "waiting", FILTER_WAITING }, { "ready", FILTER_READY },   { "active", FILTER_ACTIVE },
    { "deferred", FILTER_DEFERRED },
};

static bool set_pattern(char **to, const char *value, const char **why)
{
    if (!mail_pattern_valid(slice_str(value))) {
        *why = "neither an address nor a domain nor a pattern such as @example.com or <>";
        return false;
    }
    free(*to);
    *to = mem_str(value);
    return true;
}

static bool set_domain(struct filter *f, const char *value, const char **why)
{
    char ascii[MAIL_DOMAIN_MAX + 1];

    if (!mail_domain_to_ascii(slice_str(value), ascii)) {
        *why = "not a domain";
        return false;
    }
    free(f->domain);
    f->domain = mem_str(ascii);
    return true;
}

static bool set_state(struct filter *f, const char *value, const char **why)
{
    for (size_t i = 0; i < countof(states); i++) {
        if (strcmp(states[i].name, value) == 0) {
            f->state = states[i].state;
            return true;
        }
    }
    *why = "not a state: queued, waiting, ready, active, deferred or held";
    return false;
}

static bool set_age(uint64_t *to, const char *value, const char **why)
{
    return conf_value_duration(slice_str(value), to, why);
}

bool filter_set(struct filter *f, const char *name, const char *value, const char **why)
{
    *why = NULL;
    if (strcmp(name, "sender") == 0)
        return set_pattern(&f->sender, value, why);
    if (strcmp(name, "recipient") == 0)
        return set_pattern(&f->recipient, value, why);
    if (strcmp(name, "domain") == 0)
        return set_domain(f, value, why);
    if (strcmp(name, "state") == 0)
        return set_state(f, value, why);
    if (strcmp(name, "older") == 0)
        return set_age(&f->older_ms, value, why);
    if (strcmp(name, "newer") == 0)
        return set_age(&f->newer_ms, value, why);
    if (strcmp(name, "all") == 0)
        return conf_value_switch(slice_str(value), &f->all, why);
    return false;
}

bool filter_is_empty(const struct filter *f)
{
    return f->sender == NULL && f->recipient == NULL && f->domain == NULL && f->state == FILTER_ANY &&
           f->older_ms == 0 && f->newer_ms == 0;
}

void filter_release(struct filter *f)
{
    free(f->sender);
    free(f->recipient);
    free(f->domain);
    *f = (struct filter){ 0 };
}

void filter_id_range(const struct filter *f, uint64_t now_wall_ms, uint64_t *first, uint64_t *end)
{
    *first = 0;
    *end = UINT64_MAX;
    if (f->newer_ms != 0 && f->newer_ms < now_wall_ms)
        *first = queue_id_of_wall_ms(now_wall_ms - f->newer_ms);
    if (f->older_ms != 0)
        *end = f->older_ms < now_wall_ms ? queue_id_of_wall_ms(now_wall_ms - f->older_ms) : 0;
}

bool filter_takes_addresses(const struct filter *f, const struct recipient *r)
{
    if (f->sender != NULL && !mail_pattern_matches(slice_str(f->sender), r->reverse_path))
        return false;
    if (f->recipient != NULL && !mail_pattern_matches(slice_str(f->recipient), r->address))
        return false;
    return f->domain == NULL || slice_eq_nocase(mail_address_domain(r->address), slice_str(f->domain));
}

const char *filter_state_text(const struct recipient *r, const struct live_view *view)
{
    if (r->state == RECIPIENT_HELD)
        return "held";
    return view != NULL && view->known ? view->state : "queued";
}

bool filter_takes_state(const struct filter *f, const struct recipient *r, const struct live_view *view)
{
    const char *state = filter_state_text(r, view);
    bool held = strcmp(state, "held") == 0;

    switch (f->state) {
    case FILTER_ANY:
        return true;
    case FILTER_QUEUED:
        return !held;
    case FILTER_DEFERRED:
        return !held && r->attempts > 0;
    case FILTER_HELD:
        return held;
    case FILTER_WAITING:
        /* With the engine down everything that is not held waits. */
        return strcmp(state, "waiting") == 0 || strcmp(state, "queued") == 0;
    case FILTER_READY:
        return strcmp(state, "ready") == 0;
    case FILTER_ACTIVE:
        return strcmp(state, "active") == 0;
    }
    return false;
}
