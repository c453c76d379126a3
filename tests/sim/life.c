/* tests/sim/life.c - the engine from a start to its crash, as relayd/engine.c
 * puts it together.
 */
#include "tests/sim/sim.h"

#include "delivery/dispatch_internal.h"

static void arrived(void *ctx, struct message *m)
{
    struct sim *sim = ctx;

    ledger_committed(sim, m);
    if ((sim->opt.plant == PLANT_UNSCHEDULED || sim->opt.plant == PLANT_FORGOTTEN) &&
        chance(sim, 5))
        return;
    dispatch_arrived(sim->life->dispatch, m);
}

static void check(struct sim *sim, struct err e, const char *what)
{
    char text[256];

    if (err_failed(e))
        broken(sim, "%s: %s", what, err_text(e, text, sizeof text));
}

static void start_services(struct sim *sim, struct life *l)
{
    struct history_options opt = { .keep_ms = 30 * DAY_MS,
                                   .bytes_max = 1024 * MIB,
                                   .tick_ms = HOUR_MS };

    check(sim, history_start(l->queue, &l->loops[0].base, &opt, &l->history),
          "starting the history");
    l->clients = clients_new();
    l->accounts = accounts_new(&l->loops[0].base);
    accounts_expect(l->accounts, true);
    for (unsigned i = 0; i < LOOPS; i++) {
        acceptor_init(&l->acceptors[i], &l->loops[i].base, l->queue, l->clients, sim->config);
        l->acceptors[i].accounts = l->accounts;
    }
    logins_engine_started(sim);
}

static void open_queue(struct sim *sim, struct life *l)
{
    struct queue_options opt = {
        .state_dir = sim->opt.folder,
        .clock = &sim->clock,
        .draft_memory_max = sim->draft_memory_max,
        .drafts_max = sim->draft_memory_max < PLENTY_OF_MEMORY ? 3 : 0,
        .body_file_min = sim->body_file_min,
        .history_keep_ms = 30 * DAY_MS,
        .history_bytes_max = 1024 * MIB,
        .space_reserve = DISK_RESERVE,
        .stepped = true,
        .arrived = arrived,
        .ctx = sim,
    };

    check(sim, queue_open(&opt, &l->queue), "opening the queue");
}

void life_stillborn(struct sim *sim)
{
    struct life *l = mem_new(struct life);

    sim->counts.stillborn++;
    trace(sim, "start, and crash at once");
    open_queue(sim, l);
    if (chance(sim, 50))
        queue_step(l->queue, 1 + roll(sim, 3));
    queue_abandon(l->queue);
    disk_crash(sim);
    l->next = sim->dead;
    sim->dead = l;
}

void life_start(struct sim *sim)
{
    struct life *l = mem_new(struct life);
    struct dispatch_options opt = {
        .loops = l->loop_list,
        .resolvers = l->resolver_list,
        .loop_count = LOOPS,
        .policy = sim->reloaded ? &sim->other_policy : &sim->policy,
        .hot_memory_max = chance(sim, 20)   ? 0
                          : chance(sim, 50) ? 100 * KIB
                                            : 64 * MIB,
    };

    for (unsigned i = 0; i < LOOPS; i++) {
        loop_init(&l->loops[i], sim, l, i);
        l->loop_list[i] = &l->loops[i].base;
        resolver_init(&l->resolvers[i], sim, &l->loops[i].base);
        l->resolver_list[i] = &l->resolvers[i].base;
    }
    disk_life_begins(sim);
    sim->life = l;
    open_queue(sim, l);
    opt.home = &l->loops[0].base;
    opt.queue = l->queue;
    opt.sign = l->sign = workers_new(sim);
    opt.tls = (struct tls_client *)sim; /* nobody looks into it */
    l->dispatch = dispatch_new(&opt);
    check(sim, dispatch_recover(l->dispatch), "finding what is stored");
    start_services(sim, l);
    audit_recovery(sim);
    news_life_began(sim);
    sim_disk_soon(sim);
}

void life_crash(struct sim *sim)
{
    struct life *l = sim->life;

    trace(sim, "crash");
    sim->counts.restarts++;
    sim->counts.repaired += audit_repaired(l->dispatch);
    for (unsigned i = 0; i < LOOPS; i++)
        loop_abandon(&l->loops[i]);
    logins_engine_gone(sim);
    queue_abandon(l->queue);
    if (chance(sim, 70)) /* the machine, and not the process alone */
        disk_crash(sim);
    l->next = sim->dead;
    sim->dead = l;
    sim->life = NULL;
}

/* The loops' last run: what was posted is still done, but no time passes. */
static void last_turns(struct life *l)
{
    bool more = true;

    while (more) {
        more = false;
        for (unsigned i = 0; i < LOOPS; i++) {
            if (l->loops[i].posts == NULL && !l->loops[i].io)
                continue;
            loop_turn(&l->loops[i]);
            more = true;
        }
    }
}

static void drained(void *ctx)
{
    *(bool *)ctx = true;
}

static void tear_down(struct sim *sim, struct life *l, bool clean)
{
    last_turns(l);
    queue_finish(l->queue);
    last_turns(l);
    for (unsigned i = 0; i < LOOPS; i++)
        acceptor_release(&l->acceptors[i]);
    history_free(l->history);
    dispatch_free(l->dispatch);
    workers_free(l->sign);
    if (clean)
        last_turns(l);
    accounts_free(l->accounts);
    for (unsigned i = 0; i < LOOPS; i++) {
        resolver_release(&l->resolvers[i], clean);
        if (clean)
            loop_release(&l->loops[i]);
        else
            loop_abandon(&l->loops[i]);
    }
    queue_close(l->queue);
    clients_free(l->clients);
}

void life_stop(struct sim *sim, uint64_t drain_ms)
{
    struct life *l = sim->life;
    bool done = false;
    uint64_t until = sim->now_ms + drain_ms;

    trace(sim, "stop");
    sim->stopping = true;
    for (unsigned i = 0; i < LOOPS; i++)
        acceptor_drain(&l->acceptors[i]);
    history_stop(l->history);
    dispatch_drain(l->dispatch, drained, &done);
    while (!(done && clients_count(l->clients) == 0) && sim->now_ms < until)
        sim_step(sim);
    if (sim->healed && !done)
        broken(sim, "a stop does not come to its end");
    if (sim->healed) /* connections linger */
        for (uint64_t end = sim->now_ms + MINUTE_MS; sim->now_ms < end;)
            sim_step(sim);
    trace(sim, "stopped");
    sim->counts.repaired += audit_repaired(l->dispatch);
    if (sim->counts.repaired != 0 && sim->opt.plant == PLANT_NONE)
        broken(sim, "the engine found recipients that it had forgotten");
    tear_down(sim, l, sim->healed);
    l->next = sim->dead;
    sim->dead = l;
    sim->life = NULL;
    sim->stopping = false;
}
