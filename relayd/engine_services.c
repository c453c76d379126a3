/* relayd/engine_services.c - what the engine offers its admin: history, the
 * control socket, and a reload asked for through it.
 *
 * A reload goes to the parent, which alone may read the configuration: the
 * control thread posts the request to loop 0 and waits for the parent's word.
 */
#include "relayd/engine_internal.h"

#include "base/log.h"
#include "base/mem.h"
#include "control/control.h"
#include "queue/history.h"

#include <stdlib.h>

#define RELOAD_WAIT_MS (30 * SECOND_MS)

struct ask { /* of the parent, by way of loop 0 */
    struct post post;
    struct engine *engine;
    enum channel_type type;
    uint32_t serial;
};

static void ask_run(struct post *p)
{
    struct ask *a = container_of(p, struct ask, post);

    if (err_failed(channel_send(a->engine->channel, a->type, a->serial))) {
        log_error("engine", "the parent can't be asked to %s",
                  a->type == CHANNEL_STOP_REQUEST ? "stop" : "reload");
        if (a->type == CHANNEL_RELOAD_REQUEST)
            engine_reload_outcome(a->engine, a->serial, false, SLICE("the parent process can't be asked, try again"));
    }
    engine_flush_channel(a->engine);
    free(a);
}

static void ask_parent(struct engine *en, enum channel_type type, uint32_t serial)
{
    struct ask *a = mem_new(struct ask);

    a->post.run = ask_run;
    a->engine = en;
    a->type = type;
    a->serial = serial;
    loop_post(en->loops[0].loop, &a->post);
}

static struct err wait_for_outcome(struct engine *en, uint32_t serial, struct buf *answer)
{
    uint64_t until = cond_deadline_ms(RELOAD_WAIT_MS);
    bool in_time = true;
    struct err e;

    while (en->reload_answered < serial && !en->reload_ended && in_time)
        in_time = cond_wait_until(&en->reload_told, &en->reload_lock, until);
    if (en->reload_answered < serial) {
        buf_add_str(answer, en->reload_ended ? "the engine is stopping" : "the parent process does not answer");
        return err_make(ERR_TIMEOUT, "reload");
    }
    /* A later request's outcome is as good: it read the file later. */
    buf_add(answer, buf_bytes(&en->reload_text));
    e = en->reload_ok ? ERR_OK : err_make(ERR_SYNTAX, "reload");
    return e;
}

static struct err control_reload(void *ctx, struct buf *answer)
{
    struct engine *en = ctx;
    struct err e;

    pthread_mutex_lock(&en->reload_lock);
    ask_parent(en, CHANNEL_RELOAD_REQUEST, ++en->reload_serial);
    e = wait_for_outcome(en, en->reload_serial, answer);
    pthread_mutex_unlock(&en->reload_lock);
    return e;
}

static struct err control_stop_asked(void *ctx, struct buf *answer)
{
    ask_parent(ctx, CHANNEL_STOP_REQUEST, 0);
    buf_add_str(answer, "stopping");
    return ERR_OK;
}

void engine_reload_outcome(struct engine *en, uint32_t serial, bool ok, struct slice text)
{
    pthread_mutex_lock(&en->reload_lock);
    en->reload_answered = serial;
    en->reload_ok = ok;
    buf_clear(&en->reload_text);
    buf_add(&en->reload_text, text);
    pthread_cond_broadcast(&en->reload_told);
    pthread_mutex_unlock(&en->reload_lock);
}

static struct history_options history_options_of(const struct settings *st)
{
    return (struct history_options){ .keep_ms = st->history_keep_ms, .bytes_max = st->history_size };
}

struct err engine_services_start(struct engine *en)
{
    struct history_options history = history_options_of(en->settings);
    struct control_options opt = {
        .runtime_dir = en->settings->runtime_dir,
        .queue = en->queue,
        .accounts = en->accounts,
        .dispatch = en->dispatch,
        .signers = en->signers,
        .home = en->loops[0].loop,
        .clock = &clock_system,
        .hostname = en->settings->hostname,
        .version = RELAYD_VERSION,
        .reload = control_reload,
        .stop = control_stop_asked,
        .keys = engine_dkim_keys,
        .txt = engine_dkim_txt,
        .ctx = en,
    };
    struct buf why = { 0 };
    struct err e;

    engine_accounts_configure(en);
    engine_dkim_set(en, en->settings);
    e = history_start(en->queue, en->loops[0].loop, &history, &en->history);

    if (!err_failed(e))
        e = control_start(&opt, &en->control, &why);
    if (err_failed(e) && buf_len(&why) != 0)
        log_error("engine", "%s", buf_cstr(&why));
    buf_release(&why);
    return e;
}

void engine_services_reload(struct engine *en)
{
    struct history_options history = history_options_of(en->settings);

    history_configure(en->history, &history);
    engine_accounts_configure(en);
    engine_dkim_set(en, en->settings);
}

void engine_services_stop(struct engine *en)
{
    if (en->services_stopped)
        return;
    en->services_stopped = true;
    pthread_mutex_lock(&en->reload_lock);
    en->reload_ended = true; /* whoever waits for a reload waits no more */
    pthread_cond_broadcast(&en->reload_told);
    pthread_mutex_unlock(&en->reload_lock);
    engine_dkim_stop(en);
    if (en->control != NULL)
        control_stop(en->control);
    if (en->history != NULL)
        history_stop(en->history);
}

void engine_services_free(struct engine *en)
{
    control_free(en->control);
    history_free(en->history);
    buf_release(&en->reload_text);
    settings_unref(en->dkim_settings);
}
