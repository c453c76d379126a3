/* relayd/engine.c - the process that carries the mail: begins, reloads, ends
 * when its parent says so.
 *
 * Loop 0 runs in the main thread and has the scheduler and the parent's
 * channel; each other loop has a thread. Every loop accepts clients and
 * carries deliveries.
 */
#include "relayd/engine.h"

#include "base/log.h"
#include "base/mem.h"
#include "net/tls.h"
#include "relayd/engine_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define MESSAGE_MEMORY_MAX (64u * MIB) /* where the configuration does not say, and of memory no more than that part */
#define MESSAGE_MEMORY_PART 8u
#define HOT_MEMORY_MAX (32u * MIB)   /* content kept between commit and first attempt */
#define HOT_MEMORY_PART 16u
#define DRAFT_OUTSIDE (256u * KIB)   /* memory for each message on its way in: most of it is its socket's */
#define DNS_CACHE_ENTRIES 50000u
#define BODY_FILE_MIN (512u * KIB)
#define DRAIN_CHECK_MS 20u
#define DRAIN_MARGIN_MS 1000u        /* of the parent's patience, to close the store */

static void end(struct engine *en, int exit_code)
{
    en->exit_code = exit_code;
    uvloop_stop(en->loops[0].loop);
}

/* ---- start --------------------------------------------------------------------- */

static void message_arrived(void *ctx, struct message *m)
{
    struct engine *en = ctx;

    dispatch_arrived(en->dispatch, m);
}

static struct err open_queue(struct engine *en)
{
    const struct settings *st = en->settings;
    struct queue_options opt = {
        .state_dir = st->state_dir,
        .clock = &clock_system,
        .draft_memory_max = st->limits.message_memory != 0
                                ? st->limits.message_memory
                                : engine_memory_share(en, MESSAGE_MEMORY_PART, MESSAGE_MEMORY_MAX),
        .drafts_max = engine_memory_share(en, DRAFT_OUTSIDE, SIZE_MAX),
        .headroom = engine_memory_gauge(en),
        .body_file_min = BODY_FILE_MIN,
        .history_keep_ms = st->history_keep_ms,
        .history_bytes_max = st->history_size,
        .space_reserve = st->storage.reserve,
        .space_ahead = st->storage.ahead,
        .map_bytes = st->storage.map_size,
        .arrived = message_arrived,
        .ctx = en,
    };

    if (opt.draft_memory_max < MESSAGE_MEMORY_MAX)
        log_info("engine", "message_memory is %zu MiB, and at most %zu messages arrive at once",
                 opt.draft_memory_max / MIB, opt.drafts_max);
    return queue_open(&opt, &en->queue);
}

static struct err make_loops(struct engine *en)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    struct err e = ERR_OK;

    /* A core in two is left to the store's writer, its readers and the kernel:
     * with a loop on each of two cores a message cost a third more. */
    en->loop_count = en->settings->loops != 0 ? en->settings->loops : (unsigned)(cores > 1 ? (cores + 1) / 2 : 1);
    en->loops = mem_grow(en->loops, en->loop_count, sizeof *en->loops);
    en->loop_list = mem_zero(en->loop_count, sizeof(struct loop *));
    en->resolver_list = mem_zero(en->loop_count, sizeof(struct resolver *));
    memset(en->loops + 1, 0, (en->loop_count - 1) * sizeof *en->loops);
    for (unsigned i = 0; i < en->loop_count && !err_failed(e); i++) {
        struct engine_loop *el = &en->loops[i];

        el->engine = en;
        if (i > 0)
            e = uvloop_new(i, &clock_system, &el->loop);
        if (!err_failed(e))
            e = ares_resolver_new(el->loop, en->dns_cache, en->settings->resolvers,
                                  (unsigned)en->settings->resolver_count, &el->resolver);
        en->loop_list[i] = el->loop;
        en->resolver_list[i] = el->resolver;
    }
    return e;
}

/* Reads the CAs of the system: before the loops run. Without it mail that must
 * be encrypted waits, the rest goes in the clear. */
static void make_tls_client(struct engine *en)
{
    struct err e = tls_client_new(&clock_system, &en->tls_client);
    char text[128];

    if (err_failed(e)) {
        en->tls_client = NULL;
        log_error("engine", "there is no TLS towards next hops: %s", err_text(e, text, sizeof text));
    } else if (tls_client_ca_count(en->tls_client) == 0) {
        log_warning("engine", "no CA certificates were found (package ca-certificates): next hops with \"tls verified\" "
                              "can't be verified, mail for them waits");
    }
}

static struct err make_dispatch(struct engine *en)
{
    struct dispatch_options opt = {
        .home = en->loops[0].loop,
        .loops = en->loop_list,
        .resolvers = en->resolver_list,
        .loop_count = en->loop_count,
        .queue = en->queue,
        .policy = en->config->policy,
        .sign = signers_service(en->signers),
        .hot_memory_max = engine_memory_share(en, HOT_MEMORY_PART, HOT_MEMORY_MAX),
    };

    make_tls_client(en);
    opt.tls = en->tls_client;
    en->dispatch = dispatch_new(&opt);
    return dispatch_recover(en->dispatch);
}

static void *loop_main(void *arg)
{
    struct engine_loop *el = arg;

    uvloop_run(el->loop);
    return NULL;
}

static struct err start_threads(struct engine *en)
{
    for (unsigned i = 1; i < en->loop_count; i++) {
        int failed = pthread_create(&en->loops[i].thread, NULL, loop_main, &en->loops[i]);

        if (failed != 0)
            return err_sys(failed, "start a network thread");
        en->loops[i].running = true;
    }
    return ERR_OK;
}

static struct err make_config(struct engine *en, const struct settings *st, struct acceptor_config **out,
                              struct buf *why)
{
    struct delivery_policy *policy = delivery_policy_new(st);
    struct acceptor_config *c = acceptor_config_new(st, policy);
    struct err e = engine_tls_config(en, st, c, why);

    policy_unref(policy);
    if (err_failed(e))
        acceptor_config_unref(c);
    else
        *out = c;
    return e;
}

static struct err bring_up(struct engine *en, struct channel_message *m, struct buf *why)
{
    struct err e;

    log_start_thread();
    en->clients = clients_new();
    en->dns_cache = dns_cache_new(DNS_CACHE_ENTRIES);
    en->signers = signers_new(en->loops[0].loop);
    engine_tls_start(en);
    e = make_config(en, en->settings, &en->config, why);
    if (!err_failed(e))
        e = engine_memory_start(en);
    if (!err_failed(e))
        e = open_queue(en);
    if (!err_failed(e))
        e = make_loops(en);
    if (!err_failed(e))
        e = make_dispatch(en);
    if (err_failed(e))
        return e;
    en->accounts = accounts_new(en->loops[0].loop);
    for (unsigned i = 0; i < en->loop_count; i++) {
        acceptor_init(&en->loops[i].acceptor, en->loops[i].loop, en->queue, en->clients, en->config);
        en->loops[i].acceptor.accounts = en->accounts;
        en->loops[i].acceptor.headroom = engine_memory_gauge(en);
    }
    en->up = true;
    engine_clock_start(en);
    e = engine_services_start(en);
    if (!err_failed(e))
        e = engine_listen(en, m->listeners, m->listener_count);
    if (!err_failed(e))
        e = start_threads(en);
    return e;
}

static struct err start(struct engine *en, struct channel_message *m)
{
    struct buf why = { 0 };
    struct diagnostics d = { 0 };
    struct settings *settings = NULL;
    struct err e = generation_settings(m->bundle_fd, &d, &settings);
    int exit_code = EX_OSERR; /* the parent found the configuration good */
    char text[256];

    if (err_failed(e)) {
        diagnostics_format(&d, &why);
    } else {
        en->settings = settings;
        log_open(settings->hostname, settings->log_level);
        e = lock_take(settings->state_dir, &clock_system, LOCK_WAIT_MS, &en->lock_fd, &why);
        exit_code = e.kind == ERR_BUSY ? EX_TEMPFAIL : process_exit_code(e, EX_CANTCREAT);
        if (!err_failed(e)) {
            e = bring_up(en, m, &why);
            exit_code = EX_OSERR;
        }
    }
    diagnostics_release(&d);
    if (err_failed(e)) {
        log_write(LOG_LEVEL_FATAL, "engine", "%s%s%s", buf_cstr(&why), buf_len(&why) != 0 ? ": " : "",
                  err_text(e, text, sizeof text));
        if (e.kind == ERR_CORRUPT)
            log_write(LOG_LEVEL_FATAL, "engine",
                      "a file below %s is damaged: stop relayd, and \"relayctl salvage FOLDER\" "
                      "writes to files what can be read of the queue", en->settings->state_dir);
        end(en, exit_code);
        e = ERR_OK;
    } else {
        log_info("engine", "ready: %s, %u loops", en->settings->hostname, en->loop_count);
        e = channel_send(en->channel, CHANNEL_READY, m->serial);
    }
    buf_release(&why);
    return e;
}

/* ---- reload -------------------------------------------------------------------- */

static struct err reload(struct engine *en, struct channel_message *m)
{
    struct buf why = { 0 };
    struct diagnostics d = { 0 };
    struct settings *settings = NULL;
    struct acceptor_config *config = NULL;
    struct err e = generation_settings(m->bundle_fd, &d, &settings);
    char text[256];

    if (!err_failed(e))
        e = make_config(en, settings, &config, &why);
    if (err_failed(e)) {
        settings_unref(settings);
        diagnostics_format(&d, &why);
        buf_printf(&why, "%s%s", buf_len(&why) != 0 ? ": " : "", err_text(e, text, sizeof text));
        e = channel_send_text(en->channel, CHANNEL_RELOAD_FAILED, m->serial, buf_bytes(&why));
    } else {
        acceptor_config_unref(en->config);
        settings_unref(en->settings);
        en->settings = settings;
        en->config = config;
        log_open(settings->hostname, settings->log_level);
        dns_cache_clear(en->dns_cache); /* other name servers may know better */
        dispatch_reload(en->dispatch, en->config->policy);
        engine_services_reload(en);
        e = engine_listen(en, m->listeners, m->listener_count);
        if (err_failed(e))
            e = channel_send_text(en->channel, CHANNEL_RELOAD_FAILED, m->serial,
                                  slice_str(err_text(e, text, sizeof text)));
        else
            e = channel_send(en->channel, CHANNEL_RELOAD_OK, m->serial);
    }
    diagnostics_release(&d);
    buf_release(&why);
    return e;
}

/* ---- stop ---------------------------------------------------------------------- */

static void drain_check(struct timer *t)
{
    struct engine *en = container_of(t, struct engine, drain_timer);
    struct loop *home = en->loops[0].loop;

    if ((en->dispatch_drained && clients_count(en->clients) == 0) || home->now_ms >= en->drain_until_ms) {
        end(en, EX_OK);
        return;
    }
    loop_arm(home, &en->drain_timer, DRAIN_CHECK_MS);
}

static void dispatch_is_drained(void *ctx)
{
    struct engine *en = ctx;

    en->dispatch_drained = true;
}

static void stop(struct engine *en, uint64_t drain_ms)
{
    if (!en->up) {
        end(en, EX_OK);
        return;
    }
    if (en->stopping)
        return;
    en->stopping = true;
    log_info("engine", "stopping: no new mail, deliveries under way may finish");
    en->drain_until_ms = en->loops[0].loop->now_ms + (drain_ms > DRAIN_MARGIN_MS ? drain_ms - DRAIN_MARGIN_MS : 0);
    engine_services_stop(en);
    engine_stop_listening(en);
    dispatch_drain(en->dispatch, dispatch_is_drained, en);
    en->drain_timer.fire = drain_check;
    loop_arm(en->loops[0].loop, &en->drain_timer, 0);
}

/* What was posted is still done, but no time passes. */
static void last_turns(struct engine *en)
{
    for (unsigned i = 0; en->up && i < en->loop_count; i++) {
        uvloop_stop(en->loops[i].loop);
        uvloop_run(en->loops[i].loop);
    }
}

/* Threads first; then the loops hear what the others had still to say, such as
 * how a delivery ended, so that it is written down; then the store, whose last
 * completions the loops carry out as well; then everything else. */
static void tear_down(struct engine *en)
{
    for (unsigned i = 1; i < en->loop_count; i++) {
        if (!en->loops[i].running)
            continue;
        uvloop_stop(en->loops[i].loop);
        pthread_join(en->loops[i].thread, NULL);
    }
    engine_services_stop(en);
    last_turns(en);
    if (en->queue != NULL)
        queue_finish(en->queue);
    last_turns(en);
    for (unsigned i = 0; en->up && i < en->loop_count; i++) {
        engine_close_listeners(&en->loops[i]);
        acceptor_release(&en->loops[i].acceptor);
    }
    engine_services_free(en);
    dispatch_free(en->dispatch);
    accounts_free(en->accounts);
    tls_client_unref(en->tls_client);
    signers_free(en->signers);
    fd_watch_free(en->channel_watch);
    for (unsigned i = 0; i < en->loop_count; i++) {
        ares_resolver_free(en->loops[i].resolver);
        uvloop_free(en->loops[i].loop);
    }
    queue_close(en->queue);
    dns_cache_free(en->dns_cache);
    clients_free(en->clients);
    engine_memory_free(en);
    acceptor_config_unref(en->config);
    engine_tls_free(en);
    settings_unref(en->settings);
    free(en->loops);
    free(en->loop_list);
    free(en->resolver_list);
    log_stop_thread();
    if (en->lock_fd >= 0)
        close(en->lock_fd);
}

/* ---- the parent ------------------------------------------------------------------ */

static struct err handle(struct engine *en, struct channel_message *m)
{
    switch (m->type) {
    case CHANNEL_START:
        return en->up ? ERR_OK : start(en, m);
    case CHANNEL_RELOAD:
        return en->up && !en->stopping ? reload(en, m) : ERR_OK;
    case CHANNEL_RELOAD_OUTCOME:
        engine_reload_outcome(en, m->serial, m->ok, m->text);
        return ERR_OK;
    case CHANNEL_LINK:
        if (en->up)
            engine_link(en, &m->link);
        return ERR_OK;
    case CHANNEL_STOP:
        stop(en, m->drain_ms);
        return ERR_OK;
    default:
        return ERR_OK;
    }
}

static struct err listen_to_parent(struct engine *en)
{
    for (;;) {
        struct channel_message m;
        struct err e = channel_receive(en->channel, &m);

        if (err_failed(e) || m.type == CHANNEL_NOTHING)
            return e;
        e = handle(en, &m);
        channel_message_release(&m);
        if (err_failed(e))
            return e;
    }
}

void engine_flush_channel(struct engine *en)
{
    if (channel_has_output(en->channel) &&
        err_failed(channel_flush_wait(en->channel, &clock_system, SECOND_MS)))
        log_error("engine", "the parent does not read its channel");
}

static void channel_ready(void *ctx, unsigned events)
{
    struct engine *en = ctx;
    struct err e = listen_to_parent(en);
    char text[256];

    if (err_failed(e)) {
        if (e.kind != ERR_CLOSED)
            log_error("engine", "parent: %s", err_text(e, text, sizeof text));
        end(en, EX_UNAVAILABLE);
        return;
    }
    engine_flush_channel(en);
}

int engine_main(int channel_fd_)
{
    struct engine en = { .lock_fd = -1 };
    struct err e;

    en.channel = channel_new(channel_fd_, CHANNEL_CHILD);
    en.loops = mem_zero(1, sizeof *en.loops);
    en.loop_count = 1;
    pthread_mutex_init(&en.reload_lock, NULL);
    cond_init(&en.reload_told);
    pthread_mutex_init(&en.dkim_lock, NULL);
    cond_init(&en.dkim_told);
    e = uvloop_new(0, &clock_system, &en.loops[0].loop);
    if (!err_failed(e))
        e = fd_watch_new(en.loops[0].loop, channel_fd(en.channel), FD_READABLE, channel_ready, &en, &en.channel_watch);
    if (err_failed(e)) {
        log_error("engine", "%s", e.what);
        return EX_OSERR;
    }
    uvloop_run(en.loops[0].loop);
    tear_down(&en);
    if (en.exit_code == EX_OK && !err_failed(channel_send(en.channel, CHANNEL_STOPPED, 0)))
        engine_flush_channel(&en);
    channel_free(en.channel);
    return en.exit_code;
}
