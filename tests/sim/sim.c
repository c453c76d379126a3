/* tests/sim/sim.c - one run: the world is made from the seed, lives for some
 * days, heals, and everybody must have come to an end.
 */
#include "tests/sim/sim.h"

#include "tests/sim/plant.h"

#include <errno.h>
#include <stdarg.h>
#include <unistd.h>

#define STEPS_A_SECOND_MAX 20000u /* more is a busy loop */

/* ---- telling ------------------------------------------------------------------- */

void trace(struct sim *sim, const char *fmt, ...)
{
    char line[1200];
    int len = snprintf(line, sizeof line, "%llu ", (unsigned long long)sim->now_ms);
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line + len, sizeof line - (size_t)len, fmt, ap);
    va_end(ap);
    sim->hash = sim->hash * 0x100000001b3ull ^ slice_hash(slice_str(line));
    if (sim->opt.trace != NULL)
        fprintf(sim->opt.trace, "%s\n", line);
    if (sim->fuse > 0)
        sim->fuse--;
}

void broken(struct sim *sim, const char *fmt, ...)
{
    char text[1200];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    trace(sim, "BROKEN: %s", text);
    printf("# seed %llu, day %.3f: %s\n", (unsigned long long)sim->opt.seed,
           (double)sim->now_ms / (double)DAY_MS, text);
    fflush(NULL);
    _exit(3); /* also from deep inside the engine */
}

/* ---- time ------------------------------------------------------------------------ */

static uint64_t sim_mono(void *ctx)
{
    return ((struct sim *)ctx)->now_ms;
}

static uint64_t sim_wall(void *ctx)
{
    return wall_ms(ctx);
}

static void note_step(struct sim *sim)
{
    sim->counts.steps++;
    if (sim->now_ms / SECOND_MS != sim->second) {
        sim->second = sim->now_ms / SECOND_MS;
        sim->second_steps = sim->second_timer_turns = sim->second_questions = 0;
    }
    if (++sim->second_steps > STEPS_A_SECOND_MAX + sim->opt.newsletter)
        broken(sim, "a busy loop");
}

static void let_time_pass(struct sim *sim)
{
    uint64_t next = timers_next(&sim->timers);

    for (unsigned i = 0; sim->life != NULL && i < LOOPS; i++) {
        uint64_t due = timers_next(&sim->life->loops[i].base.timers);

        if (due < next)
            next = due;
    }
    if (next == TIMERS_NEVER)
        next = sim->now_ms + SECOND_MS;
    if (next > sim->now_ms)
        sim->now_ms = next;
}

static bool turn_a_loop(struct sim *sim)
{
    unsigned first = (unsigned)roll(sim, LOOPS);

    for (unsigned i = 0; sim->life != NULL && i < LOOPS; i++) {
        struct sim_loop *l = &sim->life->loops[(first + i) % LOOPS];

        if (!loop_runnable(l))
            continue;
        loop_turn(l);
        sim_disk_soon(sim);
        return true;
    }
    return false;
}

static void maybe_crash(struct sim *sim)
{
    if (sim->life == NULL || sim->stopping || (!sim->restart_due && (!sim->may_crash || sim->fuse > 0)))
        return;
    sim->restart_due = false;
    if (chance(sim, 30))
        life_stop(sim, roll(sim, 30 * SECOND_MS));
    else
        life_crash(sim);
    timers_arm(&sim->timers, &sim->start,
               sim->now_ms + roll(sim, chance(sim, 80) ? 5 * SECOND_MS : 2 * HOUR_MS));
}

/* Less often where it takes long. */
static void audit_now_and_then(struct sim *sim)
{
    if (sim->now_ms < sim->audit_after_ms)
        return;
    audit_store(sim);
    watch_waits(sim);
    sim->audit_after_ms = sim->now_ms + (sim->opt.newsletter != 0 ? 10 * MINUTE_MS : 0);
}

void sim_step(struct sim *sim)
{
    note_step(sim);
    maybe_crash(sim);
    if (turn_a_loop(sim))
        return;
    if (timers_next(&sim->timers) <= sim->now_ms) {
        timers_run(&sim->timers, sim->now_ms);
        return;
    }
    if (sim->dirty && sim->life != NULL && !timer_armed(&sim->disk) &&
        (sim->opt.paranoid || chance(sim, 10)))
        audit_now_and_then(sim);
    if (sim->life != NULL)
        watch_rest(sim);
    let_time_pass(sim);
}

/* ---- disk, crashes, faults ---------------------------------------------------------- */

void sim_disk_soon(struct sim *sim)
{
    if (!timer_armed(&sim->disk))
        timers_arm(&sim->timers, &sim->disk, sim->now_ms + 1 + roll(sim, sim->slow_disk));
}

static void disk_fire(struct timer *t)
{
    struct sim *sim = container_of(t, struct sim, disk);
    size_t ran;

    if (sim->life == NULL)
        return;
    ran = queue_step(sim->life->queue, chance(sim, 60) ? SIZE_MAX : 1 + roll(sim, 4));
    if (ran == 0)
        return;
    sim->dirty = true;
    trace(sim, "disk: %zu", ran);
    sim_disk_soon(sim);
}

/* Only the wall clock jumps; by years at most once, for what a sender wanted to
 * go later can't be told any more when a clock was set back twice. */
static void jump_fire(struct timer *t)
{
    static const int64_t days[] = { 1, -1, -3653 };
    struct sim *sim = container_of(t, struct sim, jump);
    int64_t by = days[roll(sim, countof(days) - (sim->last_jump_ms != 0))] * (int64_t)DAY_MS;

    if (sim->now_ms >= sim->end_ms || sim->wall_offset_ms < -3000 * (int64_t)DAY_MS)
        return;
    sim->wall_offset_ms += by;
    sim->last_jump_ms = sim->now_ms;
    if (by > 0)
        sim->jumped_ms += (uint64_t)by;
    else if (by == -(int64_t)DAY_MS)
        sim->set_back_ms += DAY_MS;
    sim->counts.jumps++;
    trace(sim, "the clock jumps by %lld days", (long long)(by / (int64_t)DAY_MS));
    timers_arm(&sim->timers, t, sim->now_ms + roll(sim, 3 * DAY_MS));
}

static void start_fire(struct timer *t)
{
    struct sim *sim = container_of(t, struct sim, start);

    if (!sim->healed && chance(sim, 8)) { /* and once more, in the middle of it */
        life_stillborn(sim);
        timers_arm(&sim->timers, t, sim->now_ms + roll(sim, 5 * SECOND_MS));
        return;
    }
    trace(sim, "start");
    sim->fuse = chance(sim, 20) ? roll(sim, 60) : roll(sim, sim->fuse_max);
    life_start(sim);
}

/* ---- a run ----------------------------------------------------------------------------- */

static void never_released(struct delivery_policy *p)
{
    abort();
}

/* They tear groups apart and put them together again, but lead nowhere new. */
static const struct route more_routes[] = {
    { .to = "nobody.test", .action = ROUTE_HOLD },
    { .to = "d2.test", .action = ROUTE_DIRECT, .tls = HOP_TLS_OPTIONAL },
    { .from = "<>", .action = ROUTE_DIRECT, .tls = HOP_TLS_OPTIONAL },
};

/* Domains that must not be spoken to in the clear; as in world.c. */
static const struct route tls_routes[] = {
    { .to = "d3.test", .action = ROUTE_DIRECT, .tls = HOP_TLS_REQUIRED },
    { .to = "d4.test", .action = ROUTE_DIRECT, .tls = HOP_TLS_VERIFIED },
};

static void make_routes(struct sim *sim)
{
    size_t n = countof(tls_routes);

    memcpy(sim->routes, tls_routes, sizeof tls_routes);
    memcpy(sim->more_routes, tls_routes, sizeof tls_routes);
    memcpy(sim->more_routes + n, more_routes, sizeof more_routes);
    sim->policy.routes = sim->routes;
    sim->policy.route_count = n;
    sim->other_policy.routes = sim->more_routes;
    sim->other_policy.route_count = n + countof(more_routes);
}

static void make_policy(struct sim *sim)
{
    struct delivery_policy *p = &sim->policy;
    struct retry_policy *r = &sim->retry;

    r->first_ms = chance(sim, 60) ? MINUTE_MS : 10 * SECOND_MS + roll(sim, 10 * MINUTE_MS);
    r->factor_percent = chance(sim, 60) ? 200 : 100 + (unsigned)roll(sim, 300);
    r->max_ms = chance(sim, 50) ? 4 * HOUR_MS : r->first_ms + roll(sim, 2 * HOUR_MS);
    r->doubt_ms = chance(sim, 60) ? 30 * MINUTE_MS : MINUTE_MS + roll(sim, HOUR_MS);
    r->expire_ms =
        chance(sim, 50) ? DAY_MS + roll(sim, 4 * DAY_MS) : 8 * HOUR_MS + roll(sim, 2 * DAY_MS);
    r->warn_ms = chance(sim, 30) ? 0 : 4 * HOUR_MS;
    *p = (struct delivery_policy){
        .release = never_released,
        .hostname = OWN_NAME,
        .fallback = { .action = ROUTE_DIRECT, .tls = HOP_TLS_OPTIONAL },
        .port = 25,
        .ipv4 = true,
        .ipv6 = true,
        .connections = chance(sim, 60) ? 500 : 3 + (unsigned)roll(sim, 12),
        .connections_per_site = chance(sim, 50) ? 20 : 1 + (unsigned)roll(sim, 5),
        .messages_per_connection = chance(sim, 50) ? 100 : (unsigned)roll(sim, 4),
        .recipients_per_message = chance(sim, 60) ? 100 : 1 + (unsigned)roll(sim, 10),
        .connect_timeout_ms = 30 * SECOND_MS,
        .idle_timeout_ms = 5 * SECOND_MS,
        .client = { .helo = OWN_NAME,
                    .greeting_timeout_ms = 5 * MINUTE_MS,
                    .command_timeout_ms = 5 * MINUTE_MS,
                    .data_timeout_ms = 3 * MINUTE_MS,
                    .final_timeout_ms = 10 * MINUTE_MS,
                    .quit_timeout_ms = 5 * SECOND_MS },
        .retry = *r,
    };
    atomic_init(&p->refs, 1);
    sim->other_policy = *p;
    make_routes(sim);
}

/* The domain most mail is from, and the one above our own name. */
static void make_signing(struct sim *sim)
{
    const char *names[2] = { sim->zone.domains[0].name, NOTICE_DOMAIN };

    for (unsigned i = 0; i < 2; i++) {
        sim->identities[i] = (struct sign_identity){ names[i], "s" };
        sim->signing[i] = (struct signing_domain){ .name = names[i], .keys = &sim->identities[i], .key_count = 1 };
    }
    sim->policy.signing = sim->other_policy.signing = sim->signing; /* in the order of their names */
    sim->policy.signing_count = sim->other_policy.signing_count = 2;
}

static void make_listens(struct sim *sim)
{
    static const struct settings_listen listens[LISTEN_COUNT] = {
        [LISTEN_TRUSTED] = { .role = SETTINGS_ROLE_RELAY, .tls = SETTINGS_TLS_OPTIONAL },
        [LISTEN_SUBMISSION] = { .role = SETTINGS_ROLE_SUBMISSION,
                                .tls = SETTINGS_TLS_REQUIRED,
                                .login = SETTINGS_LOGIN_REQUIRED,
                                .header_from_owned = true },
        [LISTEN_IMPLICIT] = { .role = SETTINGS_ROLE_SUBMISSION,
                              .tls = SETTINGS_TLS_IMPLICIT,
                              .login = SETTINGS_LOGIN_REQUIRED },
        [LISTEN_EITHER] = { .role = SETTINGS_ROLE_SUBMISSION,
                            .tls = SETTINGS_TLS_OPTIONAL,
                            .login = SETTINGS_LOGIN_UNLESS_TRUSTED,
                            .header_from_owned = true },
        [LISTEN_STRANGERS] = { .role = SETTINGS_ROLE_RELAY,
                               .tls = SETTINGS_TLS_OPTIONAL,
                               .login = SETTINGS_LOGIN_OPTIONAL },
    };

    memcpy(sim->listens, listens, sizeof listens);
    for (unsigned i = 0; i < LISTEN_COUNT; i++)
        sim->listens[i].index = i;
    sim->settings.listens = sim->listens;
    sim->settings.listen_count = LISTEN_COUNT;
}

static void make_settings(struct sim *sim)
{
    static const struct net_prefix trusted = { { .family = AF_INET, .bytes = { 10 } }, 8 };
    struct tls_server **tls;

    sim->settings = (struct settings){
        .hostname = OWN_NAME,
        .trusted = &trusted,
        .trusted_count = 1,
        .limits = { .message_size = 50 * MIB,
                    .recipients = 1000,
                    .alias_recipients = 10000,
                    .connections = 2000,
                    .errors = 20,
                    .idle_commands = 100,
                    .received = 50,
                    .future_release_ms = DAY_MS,
                    .command_timeout_ms = 5 * MINUTE_MS,
                    .data_timeout_ms = 3 * MINUTE_MS,
                    .message_timeout_ms = HOUR_MS },
        .refs = 1,
    };
    make_listens(sim);
    sim->aliases = alias_rules_new(&(struct alias_options){ .targets_max = 1000 });
    sim->settings.aliases = sim->aliases;
    sim->config = acceptor_config_new(&sim->settings, &sim->policy);
    tls = mem_zero(LISTEN_COUNT, sizeof(struct tls_server *));
    for (unsigned i = 0; i < LISTEN_COUNT; i++)
        tls[i] = (struct tls_server *)sim; /* nobody looks into it */
    acceptor_config_set_tls(sim->config, tls);
}

/* Nothing but mail, as a relay is set up by default. */
static void make_quiet(struct sim *sim)
{
    sim->may_crash = sim->jumps = sim->commit_faults = false;
    timers_disarm(&sim->timers, &sim->jump);
    sim->slow_disk = 5;
    sim->retry = (struct retry_policy){ .first_ms = MINUTE_MS,
                                        .factor_percent = 200,
                                        .max_ms = 4 * HOUR_MS,
                                        .doubt_ms = 30 * MINUTE_MS,
                                        .expire_ms = 8 * HOUR_MS,
                                        .warn_ms = 4 * HOUR_MS };
    sim->policy.connections = sim->other_policy.connections = 500;
    sim->policy.connections_per_site = sim->other_policy.connections_per_site = 20;
    sim->policy.messages_per_connection = sim->other_policy.messages_per_connection = 100;
    sim->policy.recipients_per_message = sim->other_policy.recipients_per_message = 100;
}

static void make_run(struct sim *sim, const struct options *opt)
{
    sim->opt = *opt;
    rng_seed(&sim->rng, opt->seed);
    sim->clock = (struct clock){ sim_mono, sim_wall, sim };
    sim->now_ms = HOUR_MS;
    sim->end_ms = sim->now_ms + opt->days * DAY_MS;
    sim->disk.fire = disk_fire;
    sim->start.fire = start_fire;
    sim->slow_disk = chance(sim, 80) ? 5 : 600;
    sim->body_file_min = chance(sim, 60) ? 16 * KIB : 128 * KIB;
    sim->draft_memory_max = chance(sim, 70) ? PLENTY_OF_MEMORY : 16 * KIB;
    sim->session_goal = 30 + (unsigned)roll(sim, 120);
    sim->may_crash = chance(sim, 85);
    sim->fuse_max = chance(sim, 30) ? 300 : 6000;
    sim->fuse = roll(sim, sim->fuse_max);
    sim->commit_faults = chance(sim, 25);
    sim->jumps = chance(sim, 15);
    sim->jump.fire = jump_fire;
    if (sim->jumps)
        timers_arm(&sim->timers, &sim->jump, sim->now_ms + roll(sim, 3 * DAY_MS));
    make_policy(sim);
    make_settings(sim);
    if (opt->newsletter != 0)
        make_quiet(sim);
    world_make(sim);
    make_signing(sim);
    logins_make(sim);
    trace(sim, "first %llu factor %u max %llu doubt %llu expire %llu, %u connections, %u a site",
          (unsigned long long)sim->retry.first_ms, sim->retry.factor_percent,
          (unsigned long long)sim->retry.max_ms, (unsigned long long)sim->retry.doubt_ms,
          (unsigned long long)sim->retry.expire_ms, sim->policy.connections,
          sim->policy.connections_per_site);
    disk_begin(sim);
}

static void heal(struct sim *sim)
{
    sim->healed = true;
    sim->may_crash = false;
    disk_heal(sim);
    trace(sim, "all is well now");
}

static void drain(struct sim *sim)
{
    uint64_t longest =
        sim->retry.max_ms > sim->retry.doubt_ms ? sim->retry.max_ms : sim->retry.doubt_ms;
    uint64_t until = sim->now_ms + 4 * longest + (sim->jumps ? 30 : 6) * HOUR_MS + sim->set_back_ms;
    uint64_t look = sim->now_ms;

    while (sim->now_ms < until) {
        sim_step(sim);
        if (sim->now_ms < look || sim->life == NULL || timer_armed(&sim->disk))
            continue;
        look = sim->now_ms + 5 * MINUTE_MS;
        admin_release_all(sim);
        audit_store(sim);
        if (sim->stored == 0)
            return;
    }
    broken(sim, "%llu recipients are left in the end", (unsigned long long)sim->stored);
}

/* Clients leave, connections are closed, what was looked up is swept. */
static void settle(struct sim *sim)
{
    for (uint64_t end = sim->now_ms + 10 * MINUTE_MS; sim->now_ms < end;)
        sim_step(sim);
}

/* The memory of lives that crashed hangs on it, where a leak checker looks. */
static struct sim *volatile graveyard;

struct result sim_run(const struct options *opt)
{
    struct sim *sim = mem_new(struct sim);
    struct result result;

    graveyard = sim;
    make_run(sim, opt);
    plant_begin(sim);
    news_begin(sim);
    life_start(sim);
    if (opt->newsletter == 0) {
        clients_begin(sim);
        admin_begin(sim);
    }
    while (sim->now_ms < sim->end_ms)
        sim_step(sim);
    heal(sim);
    drain(sim);
    audit_end(sim);
    settle(sim);
    watch_floor(sim);
    life_stop(sim, 30 * MINUTE_MS);
    if (opt->newsletter != 0)
        news_tell(sim);
    result = (struct result){ sim->hash, sim->counts };
    disk_free(sim);
    plant_begin(NULL);
    acceptor_config_unref(sim->config);
    alias_rules_free(sim->aliases);
    logins_free(sim);
    news_free(sim);
    ledger_free(sim);
    world_free(sim);
    timers_release(&sim->timers);
    return result;
}
