/* tests/sim/audit.c - reads the store and the schedule and compares them with
 * the ledger: nobody is forgotten, nobody is there twice, everybody waits as
 * long as the policy says.
 */
#include "tests/sim/sim.h"

#include "delivery/dispatch_internal.h"

struct walk {
    struct sim *sim;
    bool recovery;
    uint64_t rows;
};

/* Its change is on its way to the store. */
static bool under_way(const struct dispatch *d, uint64_t id)
{
    list_foreach (it, &((struct dispatch *)d)->attempts)
        if (container_of(it, struct attempt, link)->id == id)
            return true;
    list_foreach (it, &((struct dispatch *)d)->local)
        if (container_of(it, struct attempt, link)->id == id)
            return true;
    return false;
}

/* What the engine wrote about the next attempt fits its policy. */
static void check_times(struct sim *sim, struct rcpt *r, const struct recipient *row)
{
    const struct retry_policy *p = &sim->retry;
    uint64_t wait = row->next_wall_ms - row->last_wall_ms;
    uint64_t base = p->first_ms;

    if (row->attempts == r->attempts || row->attempts == 0 || row->last_wall_ms == 0 || r->ordered)
        return;
    for (unsigned i = 1; i < row->attempts && base < p->max_ms; i++)
        base = base * p->factor_percent / 100;
    if (base > p->max_ms)
        base = p->max_ms;
    if (wait + 2 < base - base / 4)
        broken(sim, "%s: after attempt %u it waits only %llu ms", r->address, row->attempts,
               (unsigned long long)wait);
    if (wait > base + base / 4 + 2 && wait > p->doubt_ms + p->doubt_ms / 4 + 2)
        broken(sim, "%s: after attempt %u it waits %llu ms", r->address, row->attempts,
               (unsigned long long)wait);
}

/* Was its time written by the clock as it goes now? */
static bool since_the_jump(struct sim *sim, const struct rcpt *r, const struct recipient *row)
{
    uint64_t last = mono_of_wall(sim, row->last_wall_ms);

    if (row->attempts == 0)
        return r->msg->begun_ms > sim->last_jump_ms;
    return last > sim->last_jump_ms && last <= sim->now_ms;
}

static uint64_t longest_wait(const struct sim *sim)
{
    uint64_t longest = sim->retry.max_ms > sim->retry.doubt_ms ? sim->retry.max_ms : sim->retry.doubt_ms;

    return longest + longest / 4;
}

/* What lies further ahead than it ever could is not waited for. */
static void cut_odd_times(struct sim *sim, struct rcpt *r)
{
    struct msg *m = r->msg;
    uint64_t most = sim->now_ms + sim->retry.first_ms - sim->retry.first_ms / 4;

    if (r->not_before_ms > most && sim->last_jump_ms > m->begun_ms)
        r->not_before_ms = 0;
    if (m->release_ms > sim->now_ms + m->hold_s * SECOND_MS)
        m->release_ms = 0;
}

/* It is in line at a site that is at work; watch.c sees to it that that is so. */
static bool in_line(struct sim *sim, uint64_t id, uint32_t n)
{
    struct dispatch_view view;

    return dispatch_view(sim->life->dispatch, id, n, &view) && view.site_down_for_ms == 0 &&
           (strcmp(view.state, "ready") == 0 || strcmp(view.state, "active") == 0);
}

/* Nothing keeps it, and still it lies there. */
static void check_overdue(struct sim *sim, struct rcpt *r, const struct recipient *row)
{
    uint64_t due = mono_of_wall(sim, row->next_wall_ms);
    uint64_t odd = (sim->last_jump_ms > sim->started_ms ? sim->last_jump_ms : sim->started_ms) + HOLD_MAX_S * SECOND_MS + DAY_MS + sim->set_back_ms + longest_wait(sim);
    uint64_t well = domain_well_since(sim, r->domain);
    uint64_t bound =
        r->domain->kind == DOMAIN_STEADY ? 30 * MINUTE_MS : sim->retry.max_ms * 5 / 4 + HOUR_MS;

    if (sim->jumps && r->ordered)
        return; /* what is left of its wait is reckoned anew with every order */
    if (row->state == RECIPIENT_HELD || well == UINT64_MAX || r->domain->kind == DOMAIN_DEAD)
        return;
    if (sim->opt.plant == PLANT_FORGOTTEN)
        bound += 2 * HOUR_MS; /* until it is found */
    /* A time that a jump made odd is at most as far off as the longest wait. */
    if (sim->last_jump_ms != 0 && !since_the_jump(sim, r, row))
        due = odd;
    if (sim->commit_fails_now || sim->writes_fail_now)
        return;
    if (due < sim->disk_changed_ms)
        due = sim->disk_changed_ms;
    if (due < well)
        due = well;
    if (due < sim->started_ms)
        due = sim->started_ms;
    if (sim->now_ms > due + bound && !in_line(sim, r->msg->id, row->n))
        broken(sim, "%s is %llu s overdue though its servers are well", r->address,
               (unsigned long long)(sim->now_ms - due) / 1000);
}

static void visit_known(struct walk *w, struct rcpt *r, uint64_t id, const struct recipient *row)
{
    struct sim *sim = w->sim;
    struct msg *m = r->msg;

    if (m->id == 0 && w->recovery) { /* committed, but nobody had the time to say so */
        m->id = id;
        m->committed = true;
        m->committed_ms = sim->now_ms;
        m->received_wall_ms = queue_id_wall_ms(id);
    }
    if (m->id != id)
        broken(sim, "%s is stored under %llx, its message under %llx", r->address,
               (unsigned long long)id, (unsigned long long)m->id);
    if (r->gone)
        broken(sim, "%s is stored again after its end", r->address);
    if (w->recovery) {
        r->confirmed = false; /* the engine can't know */
        r->not_before_ms = mono_of_wall(sim, row->next_wall_ms);
        if (sim->jumps && m->release_ms != 0)
            m->release_ms = mono_of_wall(sim, m->release_wall_ms);
        if (sim->jumps)
            cut_odd_times(sim, r);
    }
    r->held = row->state == RECIPIENT_HELD;
    r->stored = true;
    check_times(sim, r, row);
    r->attempts = row->attempts;
    r->stored_next_wall = row->next_wall_ms;
    check_overdue(sim, r, row);
}

static void visit(void *ctx, uint64_t id, const struct recipient *row)
{
    struct walk *w = ctx;
    struct sim *sim = w->sim;
    struct dispatch *d = sim->life->dispatch;
    struct rcpt *r = ledger_find(sim, row->address);

    w->rows++;
    if (r != NULL)
        visit_known(w, r, id, row);
    else if (row->reverse_path.len != 0)
        broken(sim, "<%.*s> is stored, to whom nobody wrote", (int)row->address.len,
               row->address.ptr);
    if (!dispatch_knows(d, id, row->n) && !under_way(d, id) && sim->opt.plant != PLANT_FORGOTTEN)
        broken(sim, "%.*s is stored but not scheduled", (int)row->address.len, row->address.ptr);
}

static void walk_store(struct sim *sim, struct walk *w)
{
    struct store_txn *t = NULL;
    struct store_cursor *c = NULL;
    struct slice key, value;
    struct err e = store_snapshot(queue_store(sim->life->queue), &t);

    if (!err_failed(e))
        e = store_cursor_open(t, TABLE_RECIPIENT, &c);
    if (!err_failed(e))
        e = store_cursor_seek(c, SLICE_EMPTY, &key, &value);
    while (!err_failed(e)) {
        struct recipient row = { .n = codec_key_read_u32(key, 8) };

        if (err_failed(record_recipient_get(value, &row)))
            broken(sim, "a recipient's record can't be read");
        visit(w, codec_key_read_u64(key, 0), &row);
        e = store_cursor_next(c, &key, &value);
    }
    if (e.kind != ERR_NOT_FOUND)
        broken(sim, "the store can't be read: %s", e.what);
    store_cursor_close(c);
    store_snapshot_end(t);
}

/* By the clock that does not jump; a start believes the one on the wall. */
static bool may_be_expired(struct sim *sim, const struct msg *m)
{
    uint64_t from = m->begun_ms > m->release_ms ? m->begun_ms : m->release_ms;
    uint64_t ahead = sim->started_ms > m->begun_ms ? sim->jumped_ms - m->jumped_ms : 0;

    if (!sim->jumps)
        return wall_ms(sim) + 2 >= ledger_begins_wall(m) + sim->retry.expire_ms;
    return sim->now_ms + ahead + 2 >= from + sim->retry.expire_ms;
}

/* It is no longer stored: for a good reason? */
static void check_gone(struct sim *sim, struct rcpt *r)
{
    const struct domain *d = r->domain;
    bool expired = may_be_expired(sim, r->msg);
    bool nowhere = d->permanent_until_ms != 0 && d->permanent_until_ms >= r->msg->committed_ms;

    if (!r->msg->committed)
        broken(sim, "%s was acknowledged and never stored", r->address);
    if (r->accepted == 0 && !r->failed_ok && !expired && !nowhere && !r->deleted)
        broken(sim, "%s is lost", r->address);
    r->gone = true;
    trace(sim, "gone: %s", r->address);
}

static void walk_ledger(struct sim *sim)
{
    for (size_t i = 0; i < sim->ledger.count; i++) {
        struct msg *m = sim->ledger.msgs[i];

        if (!m->committed && !m->acked)
            continue;
        for (size_t k = 0; k < m->count; k++) {
            struct rcpt *r = &m->rcpts[k];

            if (!r->stored && !r->gone)
                check_gone(sim, r);
            r->stored = false;
        }
    }
}

void audit_store(struct sim *sim)
{
    struct walk w = { .sim = sim };

    sim->dirty = false;
    walk_store(sim, &w);
    walk_ledger(sim);
    sim->stored = w.rows;
}

void audit_recovery(struct sim *sim)
{
    struct walk w = { .sim = sim, .recovery = true };

    sim->started_ms = sim->now_ms;
    for (size_t i = 0; i < sim->ledger.dsn_count; i++)
        sim->ledger.dsns[i].confirmed = false;
    walk_store(sim, &w);
    walk_ledger(sim);
    sim->stored = w.rows;
}

/* ---- at the end -------------------------------------------------------------------- */

static bool is_final(enum event_type t)
{
    return t == EVENT_DELIVERED || t == EVENT_BOUNCED || t == EVENT_EXPIRED || t == EVENT_DELETED ||
           t == EVENT_DROPPED || t == EVENT_DISCARDED;
}

static void take_event(struct sim *sim, uint64_t id, uint64_t sequence, const struct event *e)
{
    struct rcpt *r = ledger_find(sim, e->recipient);

    struct msg *told = ledger_find_sender(sim, e->recipient);

    for (; told != NULL && (e->type == EVENT_DROPPED || e->type == EVENT_EXPIRED); told = told->next_of_sender)
        told->dsn_dropped = true; /* of one of them: which can't be told */
    if (r == NULL || r->msg->id != id || !is_final(e->type))
        return;
    if (r->final_events != 0 && r->final_sequence == sequence)
        return; /* on its way to the history: in both places */
    if (r->final_events++ != 0)
        broken(sim, "%s ended twice", r->address);
    r->final_sequence = sequence;
    switch (e->type) {
    case EVENT_DELIVERED:
        r->delivered_event = true;
        if (r->accepted == 0)
            broken(sim, "%s is called delivered, but nobody took it", r->address);
        break;
    case EVENT_BOUNCED:
    case EVENT_DROPPED:
        sim->counts.bounced++;
        break;
    case EVENT_EXPIRED:
        sim->counts.expired++;
        if (!sim->jumps && e->wall_ms + 2 < ledger_begins_wall(r->msg) + sim->retry.expire_ms)
            broken(sim, "%s expired too soon", r->address);
        break;
    default:
        break;
    }
    if (e->type == EVENT_DROPPED)
        sim->counts.dropped++;
}

static void walk_events(struct sim *sim, struct store *s, unsigned table)
{
    struct store_txn *t = NULL;
    struct store_cursor *c = NULL;
    struct slice key, value;
    struct err e = store_snapshot(s, &t);

    if (!err_failed(e))
        e = store_cursor_open(t, table, &c);
    if (!err_failed(e))
        e = store_cursor_seek(c, SLICE_EMPTY, &key, &value);
    while (!err_failed(e)) {
        struct event ev = { 0 };

        if (err_failed(record_event_get(value, &ev)))
            broken(sim, "an event's record can't be read");
        take_event(sim, codec_key_read_u64(key, 0), codec_key_read_u64(key, 8), &ev);
        e = store_cursor_next(c, &key, &value);
    }
    store_cursor_close(c);
    store_snapshot_end(t);
}

/* Who asked to be told of success is told by the next hop, or else by us. */
static void judge_success(struct sim *sim, struct rcpt *r)
{
    const struct msg *m = r->msg;
    bool reaches = m->from_domain->kind == DOMAIN_STEADY && !m->dsn_dropped;

    if (!mail_notify_wants(r->notify, MAIL_NOTIFY_SUCCESS))
        return;
    if (r->delivered_event && !r->taken_with_dsn && r->dsn_relayed == 0 && reaches)
        broken(sim, "%s was passed on and nobody was told", r->address);
    if ((!r->delivered_event || !r->taken_without) && r->dsn_relayed != 0)
        broken(sim, "%s is called passed on", r->address);
}

static void judge(struct sim *sim, struct rcpt *r)
{
    const struct msg *m = r->msg;

    if (!r->gone)
        broken(sim, "%s has not come to its end", r->address);
    if (r->final_events != 1)
        broken(sim, "%s has %u final events", r->address, r->final_events);
    if (r->deleted)
        return; /* by whatever came first */
    if (m->from_domain == NULL) {
        if (r->dsn_failed + r->dsn_relayed + r->dsn_delayed != 0)
            broken(sim, "%s: nobody was to be told", r->address);
        return;
    }
    judge_success(sim, r);
    if (!mail_notify_wants(r->notify, MAIL_NOTIFY_FAILURE)) {
        sim->counts.silenced += r->accepted == 0;
        return;
    }
    if (r->accepted == 0 && r->dsn_failed == 0 && m->from_domain->kind == DOMAIN_STEADY &&
        !m->dsn_dropped)
        broken(sim, "%s failed and nobody was told", r->address);
}

void audit_end(struct sim *sim)
{
    walk_events(sim, queue_store(sim->life->queue), TABLE_EVENT);
    walk_events(sim, queue_history_store(sim->life->queue), HISTORY_EVENT);
    for (size_t i = 0; i < sim->ledger.count; i++)
        if (sim->ledger.msgs[i]->committed)
            for (size_t k = 0; k < sim->ledger.msgs[i]->count; k++)
                judge(sim, &sim->ledger.msgs[i]->rcpts[k]);
}
