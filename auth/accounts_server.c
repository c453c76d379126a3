/* auth/accounts_server.c - the link, and what besides logins comes by it. */
#include "auth/accounts_inside.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/secret.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define KEEP_MS         (10 * SECOND_MS)
#define THREADS_MAX     8u
#define BANS_LIST_BYTES (256u * KIB)

void accounts_server_send(struct accounts_server *s, const struct accounts_wire *w)
{
    struct buf b = { 0 };

    if (s->ipc == NULL)
        return;
    accounts_wire_put(&b, w);
    ipc_send(s->ipc, buf_bytes(&b), -1);
    buf_wipe(&b);
}

static void tell_generation(struct accounts_server *s, bool again)
{
    struct accounts_wire w = { .type = ACCOUNTS_WIRE_HELLO, .generation = users_generation(s->users) };

    if (!again && w.generation == s->generation_told)
        return;
    s->generation_told = w.generation;
    accounts_server_send(s, &w);
}

/* ---- configuration -------------------------------------------------------------------------------- */

struct held_config *held_config_new(const struct accounts_config *c)
{
    struct held_config *h = mem_new(struct held_config);
    const char **argv = NULL;
    size_t count = 0;

    atomic_store(&h->refs, 1);
    h->c = *c;
    h->c.domain = mem_str(c->domain);
    h->c.file = c->file != NULL ? mem_str(c->file) : NULL;
    if (c->command != NULL) {
        while (c->command[count] != NULL)
            count++;
        argv = mem_zero(count + 1, sizeof *argv);
        for (size_t i = 0; i < count; i++)
            argv[i] = mem_str(c->command[i]);
    }
    h->c.command = argv;
    return h;
}

struct held_config *held_config_ref(struct held_config *h)
{
    atomic_fetch_add(&h->refs, 1);
    return h;
}

void held_config_unref(struct held_config *h)
{
    if (h == NULL || atomic_fetch_sub(&h->refs, 1) > 1)
        return;
    for (size_t i = 0; h->c.command != NULL && h->c.command[i] != NULL; i++)
        free((char *)h->c.command[i]);
    free((void *)h->c.command);
    free((char *)h->c.domain);
    free((char *)h->c.file);
    free(h);
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

void accounts_server_configure(struct accounts_server *s, const struct accounts_config *c)
{
    bool same_file = s->config != NULL && same_text(s->config->c.file, c->file) &&
                     same_text(s->config->c.domain, c->domain);

    held_config_unref(s->config);
    s->config = held_config_new(c);
    if (same_file)
        return;
    passwd_file_free(s->file);
    s->file = c->file != NULL ? passwd_file_new(c->file, c->domain, &clock_system) : NULL;
    if (s->file != NULL)
        passwd_file_table(s->file); /* now, so that the log tells early */
}

/* ---- charges ----------------------------------------------------------------------------------------- */

static void say_wait(char *why, size_t size, const struct rates_verdict *v, unsigned messages, unsigned recipients)
{
    if (v->wait_ms == 0)
        snprintf(why, size, "4.7.1 more recipients than you may have in an hour (%u)", recipients);
    else
        snprintf(why, size, "4.7.1 %s limit of %u in an hour reached, try again in %u minutes",
                 v->recipients ? "recipient" : "message", v->recipients ? recipients : messages,
                 (unsigned)((v->wait_ms + MINUTE_MS - 1) / MINUTE_MS));
}

static void charge(struct accounts_server *s, const struct accounts_wire *w)
{
    struct accounts_wire answer = { .type = ACCOUNTS_WIRE_CHARGED, .id = w->id };
    char *name = mem_dup(w->user.ptr, w->user.len);
    unsigned messages, recipients;
    struct rates_verdict v;
    struct account a;
    char why[128] = "";

    account_find(s, name, &a);
    if (a.source == ACCOUNT_UNREADABLE) {
        snprintf(why, sizeof why, "4.3.0 your account can't be looked up now, try again later");
    } else if (a.source == ACCOUNT_NONE || account_refusal(&a, "smtp") != NULL) {
        snprintf(why, sizeof why, "4.7.0 your account is closed");
    } else {
        account_rates(s, &a, &messages, &recipients);
        v = rates_charge(s->rates, clock_wall_ms(s->loop->clock), a.key, w->recipients, messages, recipients);
        answer.ok = v.ok;
        if (!v.ok) {
            say_wait(why, sizeof why, &v, messages, recipients);
            log_warning("accounts", "%s: over the limit: %s", a.key, why);
        }
    }
    answer.why = slice_str(why);
    accounts_server_send(s, &answer);
    account_release(&a);
    free(name);
}

static void note_rate(void *ctx, const char *user, struct slice window)
{
    users_note_rate(ctx, user, window);
}

static void keep(struct accounts_server *s)
{
    rates_each_changed(s->rates, clock_wall_ms(s->loop->clock), note_rate, s->users);
    users_flush(s->users);
}

static void keep_due(struct timer *t)
{
    struct accounts_server *s = container_of(t, struct accounts_server, keep);

    keep(s);
    loop_arm(s->loop, &s->keep, KEEP_MS);
}

static void restore_rate(void *ctx, const char *user, struct slice window)
{
    rates_restore(ctx, user, window);
}

/* ---- the admin ------------------------------------------------------------------------------------------ */

struct admin_job {
    struct accounts_server *server;
    struct hash_job job;
    struct list link;
    uint64_t id, link_serial;
    struct buf request, answer;
    char *domain;
    bool counted;
    uint64_t messages, recipients;
};

static void admin_job_free(struct admin_job *j)
{
    list_remove(&j->link);
    buf_wipe(&j->request);
    buf_wipe(&j->answer);
    free(j->domain);
    free(j);
}

static void send_answer(struct accounts_server *s, uint64_t id, struct slice answer)
{
    accounts_server_send(
        s, &(struct accounts_wire){ .type = ACCOUNTS_WIRE_ADMIN_ANSWER, .id = id, .payload = answer });
}

/* A pool thread. */
static void admin_job_run(struct hash_job *job)
{
    struct admin_job *j = container_of(job, struct admin_job, job);
    struct admin_context c = {
        .users = j->server->users,
        .clock = &clock_system,
        .domain = j->domain,
        .counted = j->counted,
        .messages = j->messages,
        .recipients = j->recipients,
    };
    struct admin_request r;
    struct err e = admin_request_get(buf_bytes(&j->request), &r);

    if (err_failed(e))
        admin_answer_begin(&j->answer, ADMIN_BAD, "%s", e.what);
    else
        admin_run(&c, &r, &j->answer);
}

static void admin_job_done(struct hash_job *job, bool dropped)
{
    struct admin_job *j = container_of(job, struct admin_job, job);
    struct accounts_server *s = j->server;

    if (j->link_serial == s->link_serial)
        send_answer(s, j->id, buf_bytes(&j->answer));
    tell_generation(s, false);
    admin_job_free(j);
}

static bool put_ban(void *ctx, const struct bans_view *v)
{
    struct buf *answer = ctx;
    struct admin_fields row = { .count = 0 };

    admin_add_text(&row, v->is_user ? "user" : "client", slice_str(v->what));
    admin_add_number(&row, "failures", v->failures);
    admin_add_switch(&row, "refused", v->refused_ms != 0);
    admin_add_number(&row, "refused_for_ms", v->refused_ms);
    admin_row_put(answer, &row);
    return buf_len(answer) < BANS_LIST_BYTES;
}

static void lift_ban(struct accounts_server *s, const struct admin_request *r, struct buf *answer)
{
    struct slice text = admin_text(&r->fields, "what");
    char *what = mem_dup(text.ptr, text.len);
    char key[USER_ADDRESS_MAX + 1];

    if (bans_lift(s->bans, what) || (user_key(text, s->config->c.domain, key) && bans_lift(s->bans, key)))
        admin_answer_begin(answer, ADMIN_OK, "%s: forgotten", what);
    else
        admin_answer_begin(answer, ADMIN_NOT_FOUND, "no failures are counted for %s", what);
    free(what);
}

static void count_of_user(struct accounts_server *s, const struct admin_request *r, struct admin_job *j)
{
    char key[USER_ADDRESS_MAX + 1];

    j->counted = slice_eq(r->op, SLICE("user-show")) && user_key(admin_text(&r->fields, "user"), j->domain, key);
    if (j->counted)
        rates_now(s->rates, clock_wall_ms(s->loop->clock), key, &j->messages, &j->recipients);
}

static void start_admin_job(struct accounts_server *s, const struct accounts_wire *w, const struct admin_request *r)
{
    struct admin_job *j = mem_new(struct admin_job);

    j->server = s;
    j->id = w->id;
    j->link_serial = s->link_serial;
    j->domain = mem_str(s->config->c.domain);
    buf_reserve(&j->request, w->payload.len);
    buf_add(&j->request, w->payload);
    count_of_user(s, r, j);
    j->job.class = HASH_ADMIN;
    j->job.run = admin_job_run;
    j->job.done = admin_job_done;
    list_append(&s->admin_jobs, &j->link);
    hash_pool_submit(s->pool, &j->job);
}

static void admin(struct accounts_server *s, const struct accounts_wire *w)
{
    struct admin_request r;
    struct buf answer = { 0 };
    struct err e = admin_request_get(w->payload, &r);

    if (err_failed(e)) {
        admin_answer_begin(&answer, ADMIN_BAD, "%s", e.what);
    } else if (slice_eq(r.op, SLICE("bans-list"))) {
        admin_answer_begin(&answer, ADMIN_OK, "failed logins");
        bans_each(s->bans, s->loop->now_ms, put_ban, &answer);
    } else if (slice_eq(r.op, SLICE("bans-lift"))) {
        lift_ban(s, &r, &answer);
    } else {
        start_admin_job(s, w, &r);
        return;
    }
    send_answer(s, w->id, buf_bytes(&answer));
    buf_release(&answer);
}

/* ---- the link ---------------------------------------------------------------------------------------------- */

static void link_drop(struct accounts_server *s)
{
    ipc_free(s->ipc);
    s->ipc = NULL;
    s->link_serial++;
    dialogue_cancel_all(s);
}

static void tell_unlinked(struct accounts_server *s)
{
    if (s->unlinked != NULL)
        s->unlinked(s->unlinked_ctx);
}

static void link_closed(void *ctx, struct err why)
{
    struct accounts_server *s = ctx;
    char text[256];

    if (why.kind != ERR_CLOSED)
        log_error("accounts", "link to the engine: %s", err_text(why, text, sizeof text));
    link_drop(s);
    tell_unlinked(s);
}

static void link_message(void *ctx, struct slice payload, int fd)
{
    struct accounts_server *s = ctx;
    struct accounts_wire w;
    struct err e = accounts_wire_get(payload, &w);

    if (fd >= 0)
        close(fd);
    if (!err_failed(e) && (fd >= 0 || w.type >= ACCOUNTS_WIRE_HELLO))
        e = err_make(ERR_PROTOCOL, "not a message of an engine");
    if (err_failed(e)) {
        link_closed(s, e);
        return;
    }
    switch (w.type) {
    case ACCOUNTS_WIRE_LOGIN:
        dialogue_begin(s, &w);
        break;
    case ACCOUNTS_WIRE_STEP:
        dialogue_step(s, &w);
        break;
    case ACCOUNTS_WIRE_CANCEL:
        dialogue_cancel(s, w.id);
        break;
    case ACCOUNTS_WIRE_CHARGE:
        charge(s, &w);
        break;
    case ACCOUNTS_WIRE_ADMIN:
        admin(s, &w);
        break;
    default:
        break;
    }
}

void accounts_server_link(struct accounts_server *s, int fd)
{
    static const struct ipc_events events = { link_message, link_closed };
    char text[256];
    struct err e;

    if (s->ipc != NULL)
        link_drop(s);
    e = ipc_new(s->loop, fd, &events, s, &s->ipc);
    if (err_failed(e)) {
        s->ipc = NULL;
        log_error("accounts", "link to the engine: %s", err_text(e, text, sizeof text));
        tell_unlinked(s);
        return;
    }
    s->link_serial++;
    tell_generation(s, true);
}

bool accounts_server_linked(const struct accounts_server *s)
{
    return s->ipc != NULL;
}

void accounts_server_when_unlinked(struct accounts_server *s, accounts_server_unlinked *tell, void *ctx)
{
    s->unlinked = tell;
    s->unlinked_ctx = ctx;
}

/* ---- life ------------------------------------------------------------------------------------------------------ */

static unsigned thread_count(unsigned wanted)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    if (wanted == 0)
        wanted = cores > 1 ? (unsigned)cores / 2 : 1; /* the mail needs some, too */
    return wanted < THREADS_MAX ? wanted : THREADS_MAX;
}

struct err accounts_server_new(struct loop *loop, const char *state_dir, const struct accounts_config *c,
                               unsigned threads, uint64_t lock_wait_ms, struct accounts_server **out)
{
    struct accounts_server *s = mem_new(struct accounts_server);
    struct err e;

    *out = NULL;
    s->loop = loop;
    list_init(&s->admin_jobs);
    s->failure_delay_ms = c->failure_delay_ms != 0 ? c->failure_delay_ms : BANS_DELAY_MS;
    s->bans = bans_new(s->failure_delay_ms);
    s->verified = verified_new();
    s->rates = rates_new();
    e = users_open(state_dir, loop->clock, lock_wait_ms, &s->users);
    if (!err_failed(e))
        e = users_each_rate(s->users, restore_rate, s->rates);
    if (!err_failed(e))
        e = sasl_new(&s->sasl);
    if (!err_failed(e))
        e = hash_pool_new(loop, thread_count(threads), &s->pool);
    if (!err_failed(e))
        e = hash_pool_new(loop, c->command_processes != 0 ? c->command_processes : 1, &s->commands);
    if (err_failed(e)) {
        accounts_server_free(s);
        return e;
    }
    accounts_server_configure(s, c);
    password_pretend(SLICE("warm-up")); /* libcrypt, before a sandbox closes */
    s->keep.fire = keep_due;
    loop_arm(loop, &s->keep, KEEP_MS);
    *out = s;
    return ERR_OK;
}

static void drop_job(struct hash_job *j)
{
    /* Its dialogue or admin job is freed below. */
}

void accounts_server_free(struct accounts_server *s)
{
    if (s == NULL)
        return;
    ipc_free(s->ipc);
    s->ipc = NULL;
    hash_pool_free(s->pool, drop_job);
    hash_pool_free(s->commands, drop_job);
    dialogue_free_all(s);
    while (!list_empty(&s->admin_jobs))
        admin_job_free(list_first(&s->admin_jobs, struct admin_job, link));
    if (s->users != NULL)
        keep(s);
    loop_disarm(s->loop, &s->keep);
    users_close(s->users);
    passwd_file_free(s->file);
    held_config_unref(s->config);
    sasl_free(s->sasl);
    bans_free(s->bans);
    verified_free(s->verified);
    rates_free(s->rates);
    free(s);
}
