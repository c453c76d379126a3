/* tests/sim/newsletter.c - a newsletter to many, and beside it single messages
 * to the same domains: password resets, that somebody sits and waits for.
 *
 * The promise: a reset that is ready at a site is given to the next connection
 * of that site which is done with its message; the newsletter does not come
 * first. Other single messages that were there before it do, and after four of
 * these in a row whoever has had a turn already. A site that has no connection
 * because all are in use gets the next one of those that have several.
 *
 * What is counted here is seen from outside: which message a connection was
 * given, and which were ready at that site then.
 */
#include "tests/sim/sim.h"

#include "delivery/dispatch_internal.h"

#include <inttypes.h>

#define FRESH_RUN 4u /* delivery/site.c */
#define SITES_MAX 512u
#define SESSION_MESSAGES 10u /* of a newsletter; its sessions are there at once */

/* The newsletter at one site. */
struct line {
    uint64_t site;
    unsigned others; /* messages given since its last turn, its first among them */
    unsigned turns;  /* it has had since it came; 0: it is as new as anybody */
};

struct reset {
    struct msg *msg;
    uint64_t site;          /* where it was ready when it was last seen; 0: nowhere */
    unsigned others;        /* given before it, and those in a row before it came */
    unsigned passed;        /* messages of the newsletter given before it */
    unsigned gifts;         /* of any kind, since it was ready */
    bool begun, came_back;
    uint64_t begun_ms;
};

struct news {
    struct sim *sim;
    struct timer start, next_reset;
    const struct domain **domains;
    size_t domain_count;
    unsigned message_count, message_size; /* messages, recipients of each */
    unsigned reset_count;
    uint64_t reset_every_ms;
    struct msg **messages;
    size_t written;
    struct reset *resets;
    size_t resets_written;
    size_t resets_done; /* all before it have begun or will not */
    struct line lines[SITES_MAX];
    size_t line_count;
};

/* ---- what is handed in ------------------------------------------------------------ */

static struct msg *next_message(struct sim *sim)
{
    struct news *n = sim->news;
    const struct domain **to = mem_alloc(n->message_size * sizeof *to);
    struct msg *m;

    for (unsigned i = 0; i < n->message_size; i++) /* by the address book: domains are mixed */
        to[i] = n->domains[roll(sim, n->domain_count)];
    m = ledger_new_plain(sim, n->written != 0 ? n->messages[0] : NULL, to, n->message_size);
    n->messages[n->written++] = m;
    sim->counts.newsletters++;
    free(to);
    return m;
}

static struct msg *next_reset(struct sim *sim)
{
    struct news *n = sim->news;
    const struct domain *to = n->domains[roll(sim, n->domain_count)];
    struct msg *m = ledger_new_plain(sim, NULL, &to, 1);

    n->resets[n->resets_written++] = (struct reset){ .msg = m };
    sim->counts.resets++;
    return m;
}

static void start_fire(struct timer *t)
{
    struct news *n = container_of(t, struct news, start);
    struct sim *sim = n->sim;

    if (sim->life == NULL || sim->stopping) {
        timers_arm(&sim->timers, t, sim->now_ms + MINUTE_MS);
        return;
    }
    for (unsigned left = n->message_count; left > 0;) {
        unsigned some = left < SESSION_MESSAGES ? left : SESSION_MESSAGES;

        client_begin(sim, next_message, some);
        left -= some;
    }
    timers_arm(&sim->timers, &n->next_reset, sim->now_ms + roll(sim, n->reset_every_ms));
}

static void reset_fire(struct timer *t)
{
    struct news *n = container_of(t, struct news, next_reset);
    struct sim *sim = n->sim;

    if (sim->life == NULL || sim->stopping || n->reset_count == 0)
        return;
    n->reset_count--;
    client_begin(sim, next_reset, 1);
    timers_arm(&sim->timers, t, sim->now_ms + roll(sim, 2 * n->reset_every_ms));
}

static void choose_domains(struct sim *sim, struct news *n)
{
    size_t all = sim->zone.domain_count - 1; /* the first is the senders' */

    n->domain_count = sim->opt.newsletter != 0 ? all : chance(sim, 40) ? 1 : 1 + roll(sim, 6);
    n->domains = mem_alloc(n->domain_count * sizeof *n->domains);
    for (size_t i = 0; i < n->domain_count; i++)
        n->domains[i] = &sim->zone.domains[1 + (sim->opt.newsletter != 0 ? i : roll(sim, all))];
}

void news_begin(struct sim *sim)
{
    struct news *n = mem_new(struct news);
    unsigned to = sim->opt.newsletter;

    sim->news = n;
    n->sim = sim;
    n->start.fire = start_fire;
    n->next_reset.fire = reset_fire;
    choose_domains(sim, n);
    n->message_size = to == 0 ? 20 + (unsigned)roll(sim, 100) : to < 1000 ? to : 1000;
    n->message_count = to == 0 ? 1 + (unsigned)roll(sim, 3) : (to + 999) / 1000;
    n->reset_count = to == 0 ? 6 : 1000;
    n->reset_every_ms = to == 0 ? 400 : 60;
    n->messages = mem_zero(n->message_count, sizeof(struct msg *));
    n->resets = mem_zero(n->reset_count, sizeof *n->resets);
    timers_arm(&sim->timers, &n->start, sim->now_ms + roll(sim, to == 0 ? sim->end_ms / 2 : MINUTE_MS));
}

void news_free(struct sim *sim)
{
    struct news *n = sim->news;

    timers_disarm(&sim->timers, &n->start);
    timers_disarm(&sim->timers, &n->next_reset);
    free(n->domains);
    free(n->messages);
    free(n->resets);
    free(n);
}

/* ---- whose turn it is ----------------------------------------------------------------- */

static bool is_news(const struct news *n, uint64_t id)
{
    for (size_t i = 0; i < n->written; i++)
        if (n->messages[i]->id == id)
            return true;
    return false;
}

static uint64_t site_of(const struct site *s)
{
    return slice_hash(slice_str(s->key)) | 1;
}

static struct line *line_at(struct news *n, uint64_t site)
{
    for (size_t i = 0; i < n->line_count; i++)
        if (n->lines[i].site == site)
            return &n->lines[i];
    if (n->line_count == SITES_MAX)
        n->line_count = 0; /* what is forgotten makes the check milder only */
    n->lines[n->line_count] = (struct line){ .site = site };
    return &n->lines[n->line_count++];
}

static bool something_waits(const struct site *s, uint32_t sender)
{
    struct sender_queue *q;

    HASH_FIND(hh, s->senders, &sender, sizeof sender, q);
    return q != NULL && q->groups.len != 0;
}

static bool is_ready_at(struct dispatch *d, const struct reset *r, const struct site *s)
{
    struct group *g = r->msg->id != 0 ? schedule_find(d->sched, r->msg->id) : NULL;
    const struct dest *dest = g != NULL ? d->dests[g->dest] : NULL;

    /* Or its domain is looked up again, and nobody knows yet where it will stand. */
    return g != NULL && g->state == GROUP_READY && g->attempts == 0 && dest->site == s && g->queue != &dest->waiting;
}

void news_life_began(struct sim *sim)
{
    struct news *n = sim->news;

    if (n == NULL)
        return;
    n->line_count = 0;
    for (size_t i = n->resets_done; i < n->resets_written; i++)
        n->resets[i].site = 0;
}

void news_added(struct sim *sim, const struct site *s, const struct group *g)
{
    if (is_news(sim->news, g->id) && !something_waits(s, g->sender))
        line_at(sim->news, site_of(s))->turns = 0;
}

void news_moved(struct sim *sim, const struct site *to)
{
    line_at(sim->news, site_of(to))->turns = 0;
}

/* It was no turn. */
void news_returned(struct sim *sim, const struct site *s, const struct group *g)
{
    struct news *n = sim->news;
    struct line *line = line_at(n, site_of(s));
    bool news = is_news(n, g->id);

    if (news && line->turns > 0)
        line->turns--;
    for (size_t i = n->resets_done; i < n->resets_written; i++) {
        struct reset *r = &n->resets[i];

        if (r->msg->id == g->id) /* its place now is with those who had a turn */
            r->came_back = true;
        else if (news && r->site == line->site && r->passed > 0)
            r->passed--;
    }
}

/* A reset is ready while another message is given to a connection. */
static void passes_by(struct sim *sim, struct reset *r, const struct line *line, bool news)
{
    if (r->site != line->site) {
        r->site = line->site;
        r->others = line->others;
        r->passed = r->gifts = 0;
    }
    r->gifts++;
    if (!news) {
        r->others++;
    } else if (line->turns > 0 && ++r->passed > r->others / FRESH_RUN) {
        broken(sim, "%s waits for a newsletter: %u of its messages came first, and %u others", r->msg->rcpts[0].address,
               r->passed, r->others);
    }
}

static void begins(struct sim *sim, struct reset *r)
{
    if (r->begun)
        return;
    r->begun = true;
    r->begun_ms = sim->now_ms;
    sim->counts.resets_waited += r->gifts > 0;
    trace(sim, "reset: %s is begun after %u others, %" PRIu64 " ms", r->msg->rcpts[0].address, r->gifts,
          sim->now_ms - r->msg->committed_ms);
}

/* A site with several connections uses one again, and another has none. */
static void check_shares(struct sim *sim, const struct dispatch *d, const struct site *s)
{
    unsigned without = 0, leaving = 0, staying = 0;
    struct site *it, *tmp;

    list_foreach (l, &((struct dispatch *)d)->starved) {
        const struct site *other = container_of(l, struct site, starved_link);

        without += other->conn_count == 0 && other->ready != 0 && other->down_until_ms <= sim->now_ms;
    }
    if (without == 0)
        return;
    HASH_ITER (hh, d->site_by_key, it, tmp)
        list_foreach (l, &it->conns) {
            const struct site_conn *sc = container_of(l, struct site_conn, link);

            leaving += sc->spent;
            staying += it == s && !sc->spent;
        }
    if (staying > 1 && without > leaving)
        broken(sim, "%s keeps %u connections, and %u sites have none", s->key, staying, without - leaving);
}

/* The newsletter's first message goes as anybody's does: it is one of the four. */
static unsigned in_a_row(const struct line *line)
{
    return 1 + (line->others < FRESH_RUN - 1 ? line->others : FRESH_RUN - 1);
}

void news_given(struct sim *sim, const struct site *s, const struct site_conn *conn, const struct group *g)
{
    struct news *n = sim->news;
    struct line *line = line_at(n, site_of(s));
    bool news = is_news(n, g->id);

    trace(sim, "%s: %" PRIx64 " is given%s; %" PRIu64 " wait", s->key, g->id, news ? ", of the newsletter" : "", s->ready);
    if (store_space(queue_store(sim->life->queue)) == STORE_BROKEN)
        broken(sim, "a delivery begins that can't be written down");
    if (!conn->conn_unused)
        check_shares(sim, s->dispatch, s);
    for (size_t i = n->resets_done; i < n->resets_written; i++) {
        struct reset *r = &n->resets[i];

        if (r->msg->id == g->id)
            begins(sim, r);
        else if (!r->begun && !r->came_back && is_ready_at(s->dispatch, r, s))
            passes_by(sim, r, line, news);
    }
    while (n->resets_done < n->resets_written &&
           (n->resets[n->resets_done].begun || n->resets[n->resets_done].came_back))
        n->resets_done++;
    line->others = !news ? line->others + 1 : line->turns == 0 ? in_a_row(line) : 0;
    line->turns = news ? line->turns + 1 : line->turns;
    if (s->ready == 0 || (n->written != 0 && !something_waits(s, (uint32_t)slice_hash_nocase(slice_str(n->messages[0]->reverse_path)))))
        line->turns = 0;
}

/* ---- the report ------------------------------------------------------------------------- */

void news_tell(struct sim *sim)
{
    struct news *n = sim->news;
    uint64_t longest = 0, sum = 0;
    unsigned begun = 0, at_once = 0, next = 0, most = 0;

    for (size_t i = 0; i < n->resets_written; i++) {
        struct reset *r = &n->resets[i];
        uint64_t wait = r->begun_ms - r->msg->committed_ms;

        if (!r->begun || r->msg->rcpts[0].domain->kind != DOMAIN_STEADY)
            continue;
        begun++;
        at_once += r->gifts == 0;
        next += r->gifts == 1;
        sum += wait;
        most = r->gifts > most ? r->gifts : most;
        longest = wait > longest ? wait : longest;
    }
    printf("# %zu messages of the newsletter; %u resets to healthy sites: %u given to a connection at once or the next "
           "that was free, %u after one other message, at most after %u; from stored to begun %" PRIu64
           " ms on average, %" PRIu64 " at most\n",
           n->written, begun, at_once, next, most, begun != 0 ? sum / begun : 0, longest);
}
