/* mail/alias.c - from the address in RCPT to those the message goes to. */
#include "mail/alias_private.h"

#include "base/mem.h"

#include <stdlib.h>

#define ADDRESS_SIZE (MAIL_ADDRESS_MAX + 1)

struct alias_rules {
    struct alias_domain *domains; /* sorted by name */
    size_t domain_count;
    const struct alias_map *addresses, *recipients;
    char *postmaster;
    const char *first_passing; /* domains, in the order they were given; or NULL */
    const char *first;
    char delimiter;
    unsigned targets_max;
};

/* ---- rules --------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    const struct alias_domain *x = a, *y = b;

    return strcmp(x->name, y->name);
}

struct alias_rules *alias_rules_new(const struct alias_options *opt)
{
    struct alias_rules *r = mem_new(struct alias_rules);

    r->domains = mem_zero(opt->domain_count, sizeof *r->domains);
    for (size_t i = 0; i < opt->domain_count; i++) {
        r->domains[i] = opt->domains[i];
        if (r->first_passing == NULL && opt->domains[i].passes)
            r->first_passing = opt->domains[i].name;
    }
    r->domain_count = opt->domain_count;
    if (r->domain_count > 0)
        r->first = opt->domains[0].name;
    qsort(r->domains, r->domain_count, sizeof *r->domains, by_name);
    r->addresses = opt->addresses;
    r->recipients = opt->recipients;
    r->postmaster = opt->postmaster != NULL ? mem_str(opt->postmaster) : NULL;
    r->delimiter = opt->delimiter;
    r->targets_max = opt->targets_max;
    return r;
}

void alias_rules_free(struct alias_rules *r)
{
    if (r == NULL)
        return;
    free(r->domains);
    free(r->postmaster);
    free(r);
}

/* A NUL ends what is not a name. */
static bool join(char out[ADDRESS_SIZE], struct slice local, struct slice domain)
{
    if (local.len + 1 + domain.len > MAIL_ADDRESS_MAX)
        return false;
    if (local.len > 0) /* "@domain" has none, and no bytes to point to */
        memcpy(out, local.ptr, local.len);
    out[local.len] = '@';
    memcpy(out + local.len + 1, domain.ptr, domain.len);
    out[local.len + 1 + domain.len] = '\0';
    return true;
}

bool alias_rules_postmaster(const struct alias_rules *r, char out[MAIL_ADDRESS_MAX + 1])
{
    const char *domain = r->first_passing != NULL ? r->first_passing : r->first;

    if (r->postmaster != NULL) {
        memcpy(out, r->postmaster, strlen(r->postmaster) + 1);
        return true;
    }
    return domain != NULL && join(out, SLICE("postmaster"), slice_str(domain));
}

static const struct alias_domain *find_domain(const struct alias_rules *r, struct slice domain)
{
    char name[MAIL_DOMAIN_MAX + 1];
    struct alias_domain key = { .name = name };
    bool ascii = true;

    if (r->domain_count == 0 || domain.len > MAIL_DOMAIN_MAX)
        return NULL;
    for (size_t i = 0; i < domain.len; i++) {
        name[i] = ascii_lower(domain.ptr[i]);
        ascii = ascii && (unsigned char)name[i] < 0x80;
    }
    name[domain.len] = '\0';
    if (!ascii && !mail_domain_to_ascii(domain, name))
        return NULL;
    return bsearch(&key, r->domains, r->domain_count, sizeof *r->domains, by_name);
}

/* ---- one look-up ---------------------------------------------------------------- */

enum meaning { MEANS_ENTRY, MEANS_ITSELF, MEANS_POSTMASTER, MEANS_ROLE, MEANS_NOTHING };

struct found {
    const struct alias_map *map;
    const struct alias_entry *entry;
};

static bool find_entry(const struct alias_rules *r, const struct alias_domain *d, struct slice local,
                       struct found *out)
{
    char key[ADDRESS_SIZE];

    if (!join(key, local, slice_str(d->name)))
        return false;
    out->map = r->addresses;
    out->entry = alias_map_find(r->addresses, slice_str(key));
    if (out->entry == NULL && local.len > 0) {
        out->map = d->names;
        out->entry = alias_map_find(d->names, local);
    }
    return out->entry != NULL;
}

static bool is_recipient(const struct alias_rules *r, const struct alias_domain *d, struct slice local)
{
    char key[ADDRESS_SIZE];

    return d->listed && join(key, local, slice_str(d->name)) && alias_map_find(r->recipients, slice_str(key)) != NULL;
}

/* "user" of "user+tag"; empty when there is no tag. In a quoted local part
 * the delimiter has no meaning. */
static struct slice without_tag(const struct alias_rules *r, struct slice local)
{
    size_t at = slice_find(local, r->delimiter);

    if (r->delimiter == '\0' || at == 0 || at == local.len || local.ptr[0] == '"')
        return SLICE_EMPTY;
    return slice_head(local, at);
}

static enum meaning look_up(const struct alias_rules *r, const struct alias_domain *d, struct slice local,
                            struct found *out)
{
    struct slice base = without_tag(r, local);

    if (find_entry(r, d, local, out))
        return MEANS_ENTRY;
    if (is_recipient(r, d, local))
        return MEANS_ITSELF;
    if (base.len > 0 && find_entry(r, d, base, out))
        return MEANS_ENTRY;
    if (base.len > 0 && is_recipient(r, d, base))
        return MEANS_ITSELF;
    if (find_entry(r, d, SLICE_EMPTY, out))
        return MEANS_ENTRY;
    if (d->passes && !d->listed)
        return MEANS_ITSELF;
    if (slice_eq_nocase(local, SLICE("postmaster")))
        return MEANS_POSTMASTER;
    if (slice_eq_nocase(local, SLICE("abuse")) || slice_eq_nocase(local, SLICE("mailer-daemon")))
        return MEANS_ROLE;
    return MEANS_NOTHING;
}

/* ---- the walk ------------------------------------------------------------------- */

struct node { /* an address met on the way */
    uint32_t text, len;
    bool ours, on_path;
    bool expanded;   /* else it was named by "\name" only */
    bool goes;       /* among the targets */
    uint8_t verdict; /* enum alias_verdict, once left */
};

struct walk {
    const struct alias_rules *r;
    const struct alias_events *ev;
    void *ctx;
    struct buf text;
    struct node *nodes;
    uint32_t node_count, node_cap;
    uint32_t *slots; /* index plus one */
    uint32_t slot_count;
    uint32_t *targets; /* nodes the message goes to */
    uint32_t target_count, target_cap;
    unsigned depth;
};

static enum alias_verdict visit(struct walk *w, struct slice address);

static struct slice node_text(const struct walk *w, uint32_t i)
{
    return slice_make(buf_bytes(&w->text).ptr + w->nodes[i].text, w->nodes[i].len);
}

/* Local parts of other domains may tell cases apart. */
static uint32_t *slot_of(struct walk *w, struct slice address, bool ours)
{
    uint32_t i = (uint32_t)slice_hash_nocase(address) & (w->slot_count - 1);

    for (; w->slots[i] != 0; i = (i + 1) & (w->slot_count - 1)) {
        struct slice known = node_text(w, w->slots[i] - 1);

        if (ours ? slice_eq_nocase(known, address) : slice_eq(known, address))
            break;
    }
    return &w->slots[i];
}

static void grow(struct walk *w)
{
    if (w->node_count == w->node_cap) {
        w->node_cap = w->node_cap != 0 ? w->node_cap * 2 : 8;
        w->nodes = mem_grow(w->nodes, w->node_cap, sizeof *w->nodes);
    }
    if (w->node_count + 1 <= w->slot_count / 2)
        return;
    w->slot_count = w->slot_count != 0 ? w->slot_count * 2 : 16;
    free(w->slots);
    w->slots = mem_zero(w->slot_count, sizeof *w->slots);
    for (uint32_t i = 0; i < w->node_count; i++)
        *slot_of(w, node_text(w, i), w->nodes[i].ours) = i + 1;
}

static void walk_release(struct walk *w)
{
    buf_release(&w->text);
    free(w->nodes);
    free(w->slots);
    free(w->targets);
}

static void trouble(struct walk *w, enum alias_verdict what, struct slice address)
{
    if (w->ev->trouble != NULL)
        w->ev->trouble(w->ctx, what, address);
}

static enum alias_verdict goes_to(struct walk *w, uint32_t node)
{
    if (w->nodes[node].goes)
        return ALIAS_FOUND;
    if (w->target_count == w->r->targets_max) {
        trouble(w, ALIAS_MANY, node_text(w, node));
        return ALIAS_MANY;
    }
    if (w->target_count == w->target_cap) {
        w->target_cap = w->target_cap != 0 ? w->target_cap * 2 : 4;
        w->targets = mem_grow(w->targets, w->target_cap, sizeof *w->targets);
    }
    w->targets[w->target_count++] = node;
    w->nodes[node].goes = true;
    return ALIAS_FOUND;
}

/* The address itself, named by its own expansion or by "\name". */
static enum alias_verdict stands_for_itself(struct walk *w, const struct alias_domain *d, uint32_t node)
{
    if (d->passes)
        return goes_to(w, node);
    trouble(w, ALIAS_LOOP, node_text(w, node));
    return ALIAS_LOOP;
}

/* The node of an address, new or not. */
static uint32_t node_of(struct walk *w, struct slice address, bool ours)
{
    uint32_t *slot;

    grow(w);
    slot = slot_of(w, address, ours);
    if (*slot != 0)
        return *slot - 1;
    *slot = w->node_count + 1;
    w->nodes[w->node_count] = (struct node){
        .text = (uint32_t)buf_len(&w->text),
        .len = (uint32_t)address.len,
        .ours = ours,
    };
    buf_add(&w->text, address);
    return w->node_count++;
}

/* "\name" of another name than the one looked up: there no alias counts. */
static enum alias_verdict final_target(struct walk *w, struct slice address)
{
    const struct alias_domain *d = find_domain(w->r, mail_address_domain(address));

    if (d != NULL && !d->passes) {
        trouble(w, ALIAS_DEAD, address);
        return ALIAS_UNKNOWN;
    }
    return goes_to(w, node_of(w, address, d != NULL));
}

static bool target_address(const struct alias_map *map, const struct alias_map_target *t, struct slice local,
                           const struct alias_domain *d, char out[ADDRESS_SIZE])
{
    struct slice text = alias_map_target_text(map, t);

    switch ((enum alias_target_kind)t->kind) {
    case ALIAS_TO_ADDRESS:
        return join(out, mail_address_local(text), mail_address_domain(text));
    case ALIAS_TO_LOCAL:
        return join(out, text, slice_str(d->name));
    case ALIAS_TO_DOMAIN:
        return join(out, local, slice_from(text, 1));
    }
    return false;
}

static enum alias_verdict visit_entry(struct walk *w, const struct alias_domain *d, const struct found *f,
                                      struct slice address, uint32_t node)
{
    enum alias_verdict result = ALIAS_UNKNOWN;

    for (uint32_t i = 0; i < f->entry->target_count; i++) {
        const struct alias_map_target *t = &f->map->targets[f->entry->target + i];
        char to[ADDRESS_SIZE];
        enum alias_verdict v = ALIAS_UNKNOWN;

        if (!target_address(f->map, t, mail_address_local(address), d, to))
            trouble(w, ALIAS_DEAD, address);
        else if (slice_eq_nocase(slice_str(to), address))
            v = stands_for_itself(w, d, node);
        else if (t->final)
            v = final_target(w, slice_str(to));
        else
            v = visit(w, slice_str(to));
        if (v == ALIAS_FOUND)
            result = ALIAS_FOUND;
        else if (v != ALIAS_UNKNOWN)
            return v;
    }
    return result;
}

static enum alias_verdict visit_postmaster(struct walk *w, const struct alias_domain *d, struct slice address,
                                           uint32_t node)
{
    char to[ADDRESS_SIZE];

    if (w->r->postmaster != NULL && !slice_eq_nocase(slice_str(w->r->postmaster), address))
        return visit(w, slice_str(w->r->postmaster));
    if (d->passes)
        return goes_to(w, node);
    if (w->r->first_passing != NULL && join(to, SLICE("postmaster"), slice_str(w->r->first_passing)))
        return visit(w, slice_str(to));
    return ALIAS_UNKNOWN;
}

static enum alias_verdict visit_ours(struct walk *w, const struct alias_domain *d, struct slice address,
                                     uint32_t node)
{
    struct found f;
    char to[ADDRESS_SIZE];

    switch (look_up(w->r, d, mail_address_local(address), &f)) {
    case MEANS_ENTRY:
        return visit_entry(w, d, &f, address, node);
    case MEANS_ITSELF:
        return goes_to(w, node);
    case MEANS_POSTMASTER:
        return visit_postmaster(w, d, address, node);
    case MEANS_ROLE:
        if (join(to, SLICE("postmaster"), slice_str(d->name)))
            return visit(w, slice_str(to));
        break;
    case MEANS_NOTHING:
        break;
    }
    if (w->depth > 1)
        trouble(w, ALIAS_DEAD, address);
    return ALIAS_UNKNOWN;
}

static enum alias_verdict refuse(struct walk *w, enum alias_verdict v, struct slice address)
{
    trouble(w, v, address);
    return v;
}

static enum alias_verdict visit(struct walk *w, struct slice address)
{
    const struct alias_domain *d = find_domain(w->r, mail_address_domain(address));
    uint32_t node = node_of(w, address, d != NULL);
    enum alias_verdict v;

    if (w->nodes[node].on_path)
        return refuse(w, ALIAS_LOOP, address);
    if (w->nodes[node].expanded)
        return (enum alias_verdict)w->nodes[node].verdict;
    if (w->depth == ALIAS_DEPTH_MAX)
        return refuse(w, ALIAS_DEEP, address);
    if (w->node_count > 2 * w->r->targets_max + ALIAS_DEPTH_MAX)
        return refuse(w, ALIAS_MANY, address);
    w->nodes[node].expanded = w->nodes[node].on_path = true;
    w->depth++;
    v = d != NULL ? visit_ours(w, d, address, node) : goes_to(w, node);
    w->depth--;
    w->nodes[node].on_path = false;
    w->nodes[node].verdict = (uint8_t)v;
    return v;
}

enum alias_verdict alias_resolve(const struct alias_rules *r, struct slice address, const struct alias_events *ev,
                                 void *ctx)
{
    struct walk w = { .r = r, .ev = ev, .ctx = ctx };
    enum alias_verdict v;

    if (find_domain(r, mail_address_domain(address)) == NULL) {
        ev->target(ctx, address);
        return ALIAS_FOUND;
    }
    v = visit(&w, address);
    for (uint32_t i = 0; v == ALIAS_FOUND && i < w.target_count; i++)
        ev->target(ctx, node_text(&w, w.targets[i]));
    walk_release(&w);
    return v;
}
