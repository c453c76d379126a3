/* auth/accounts_dialogue.c - one login from its first word to its verdict.
 *
 * Nothing about it tells a stranger whether a user exists: a name nobody has
 * costs the same hash, fails with the same words, and every failure is
 * answered at a time counted from its beginning (see auth/bans.h), later than
 * any hash takes. A command of the admin's is asked about strange names only,
 * and takes what it takes: failures of all names keep pace with it.
 */
#include "auth/accounts_inside.h"

#include "auth/checkpassword.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/secret.h"

#include <stdlib.h>

enum check { CHECK_HASH, CHECK_NOTHING, CHECK_COMMAND };

/* Engines count from 1: one whose password is still hashed for an engine that
 * died must not be taken for the next one's. */
struct dialogue_key {
    uint64_t link, id;
};

struct dialogue {
    struct accounts_server *server;
    struct dialogue_key known_as;
    UT_hash_handle hh;
    const char *mechanism;
    char service[16];
    struct net_addr addr;
    struct sasl_session *sasl;
    uint64_t step_began_ms;
    char *name;                      /* as the client wrote it, for the log */
    char key[USER_ADDRESS_MAX + 1];
    bool refused;                    /* SCRAM: too many failures, but he shall not see when we knew */
    bool unable;                     /* the users could not be read */

    struct timer delay;              /* a verdict that waits for its time */
    enum accounts_verdict verdict;

    /* In a thread: these are the thread's while it runs. */
    struct hash_job job;
    bool job_runs, cancelled;
    enum check check;
    char *hash;
    struct buf password;
    struct held_config *config;
    enum checkpassword_verdict outcome;
};

static void dialogue_free(struct dialogue *d)
{
    loop_disarm(d->server->loop, &d->delay);
    HASH_DEL(d->server->dialogues, d);
    sasl_end(d->sasl);
    buf_wipe(&d->password);
    if (d->hash != NULL)
        secret_wipe(d->hash, strlen(d->hash));
    free(d->hash);
    free(d->name);
    held_config_unref(d->config);
    free(d);
}

static struct dialogue *find(struct accounts_server *s, uint64_t id)
{
    const struct dialogue_key key = { s->link_serial, id };
    struct dialogue *d;

    HASH_FIND(hh, s->dialogues, &key, sizeof key, d);
    return d;
}

/* Its job's owner until the thread gives it back. */
static void abandon(struct dialogue *d)
{
    d->cancelled = true;
    if (!d->job_runs)
        dialogue_free(d);
}

void dialogue_cancel(struct accounts_server *s, uint64_t id)
{
    struct dialogue *d = find(s, id);

    if (d != NULL)
        abandon(d);
}

void dialogue_cancel_all(struct accounts_server *s)
{
    struct dialogue *d, *tmp;

    HASH_ITER (hh, s->dialogues, d, tmp)
        abandon(d);
}

void dialogue_free_all(struct accounts_server *s)
{
    while (s->dialogues != NULL)
        dialogue_free(s->dialogues);
}

/* ---- verdicts ----------------------------------------------------------------------------------- */

static void answer_id(struct accounts_server *s, uint64_t id, enum accounts_verdict verdict)
{
    accounts_server_send(s, &(struct accounts_wire){ .type = ACCOUNTS_WIRE_ANSWER, .id = id, .verdict = verdict });
}

/* The last word. */
static void end(struct dialogue *d, enum accounts_verdict verdict)
{
    answer_id(d->server, d->known_as.id, verdict);
    dialogue_free(d);
}

static void delay_over(struct timer *t)
{
    struct dialogue *d = container_of(t, struct dialogue, delay);

    end(d, d->verdict);
}

static void end_at(struct dialogue *d, enum accounts_verdict verdict, uint64_t after_ms)
{
    uint64_t now = d->server->loop->now_ms, due = d->step_began_ms + after_ms;

    d->verdict = verdict;
    d->delay.fire = delay_over;
    loop_arm(d->server->loop, &d->delay, due > now ? due - now : 0);
}

/* Postfix's words, which tools like fail2ban look for. */
static void log_failure(struct dialogue *d, const char *why)
{
    char addr[NET_ADDR_TEXT_MAX];
    bool named = d->name != NULL && d->name[0] != '\0';

    log_warning(strcmp(d->service, "smtp") == 0 ? "smtpd" : "accounts",
                "unknown[%s]: SASL %s authentication failed: %s%s%.200s", net_addr_format(&d->addr, addr),
                d->mechanism, why, named ? ", sasl_username=" : "", named ? d->name : "");
}

#define PACE_KEPT_MS (10u * 60 * 1000)

/* The pace is the slowest answer of late, up to the next whole delay: the
 * command's own answers then come with the others. */
static void keep_pace(struct accounts_server *s, uint64_t took_ms)
{
    uint64_t pace_ms = (took_ms / s->failure_delay_ms + 1) * s->failure_delay_ms;

    if (pace_ms < s->command_pace_ms && s->loop->now_ms - s->command_paced_ms < PACE_KEPT_MS)
        return;
    s->command_pace_ms = pace_ms;
    s->command_paced_ms = s->loop->now_ms;
}

static void fail(struct dialogue *d, const char *why)
{
    struct accounts_server *s = d->server;
    uint64_t delay_ms = bans_failure(s->bans, s->loop->now_ms, &d->addr, d->key);

    log_failure(d, why);
    if (s->config->c.command != NULL && delay_ms < s->command_pace_ms)
        delay_ms = s->command_pace_ms;
    end_at(d, ACCOUNTS_DENIED, delay_ms);
}

static void refuse(struct dialogue *d)
{
    log_failure(d, "refused, too many failures (relayctl bans)");
    end_at(d, ACCOUNTS_LATER, d->server->failure_delay_ms);
}

static void remember_name(struct dialogue *d, const char *name)
{
    free(d->name);
    d->name = mem_str(name != NULL ? name : "");
}

static void succeed(struct dialogue *d, const struct account *a, const char *app)
{
    struct accounts_server *s = d->server;
    struct accounts_wire w = { .type = ACCOUNTS_WIRE_ANSWER, .id = d->known_as.id, .verdict = ACCOUNTS_OK };
    bool stored = a->source == ACCOUNT_STORE;
    unsigned messages, recipients;

    account_rates(s, a, &messages, &recipients);
    w.user = slice_str(a->address);
    w.sender_any = stored && a->user.sender_any;
    if (!stored || a->user.sender_own)
        w.senders[w.sender_count++] = slice_str(a->address);
    for (size_t i = 0; stored && i < a->user.sender_count; i++)
        w.senders[w.sender_count++] = slice_str(a->user.senders[i]);
    w.messages_per_hour = messages;
    w.recipients_per_hour = recipients;
    bans_success(s->bans, s->loop->now_ms, &d->addr, a->key);
    if (stored)
        users_note_used(s->users, a->key, NULL);
    if (stored && app != NULL)
        users_note_used(s->users, a->key, app);
    accounts_server_send(s, &w);
    dialogue_free(d);
}

/* He is who he says. May he log in? */
static void admit(struct dialogue *d, const struct account *a, const char *app)
{
    const char *refusal = account_refusal(a, d->service);

    if (refusal != NULL)
        fail(d, refusal);
    else
        succeed(d, a, app);
}

/* ---- passwords ----------------------------------------------------------------------------------- */

/* A pool thread. */
static void check_run(struct hash_job *job)
{
    struct dialogue *d = container_of(job, struct dialogue, job);
    struct slice password = buf_bytes(&d->password);
    char addr[NET_ADDR_TEXT_MAX];

    d->outcome = CHECKPASSWORD_WRONG;
    if (d->check == CHECK_COMMAND) {
        struct checkpassword c = { d->config->c.command, d->config->c.command_timeout_ms, &clock_system };

        d->outcome = checkpassword_run(&c, d->name, password, d->service, net_addr_format(&d->addr, addr));
    } else if (d->check == CHECK_NOTHING) {
        password_pretend(password);
    } else if (passwd_verify(password, d->hash)) {
        d->outcome = CHECKPASSWORD_RIGHT;
    }
}

/* The user may have been changed meanwhile: what was right must still be what counts. */
static void password_is_right(struct dialogue *d)
{
    struct accounts_server *s = d->server;
    struct account a;

    account_find(s, d->name, &a);
    if (a.source == ACCOUNT_UNREADABLE) {
        end(d, ACCOUNTS_TEMPFAIL);
    } else if (strcmp(a.key, d->key) != 0 || strcmp(a.hash, d->hash) != 0) {
        fail(d, "the user was changed meanwhile");
    } else {
        verified_add(s->verified, s->loop->now_ms, a.key, a.hash, buf_bytes(&d->password));
        admit(d, &a, NULL);
    }
    account_release(&a);
}

static void check_done(struct hash_job *job, bool dropped)
{
    struct dialogue *d = container_of(job, struct dialogue, job);

    d->job_runs = false;
    if (d->check == CHECK_COMMAND && !dropped)
        keep_pace(d->server, d->server->loop->now_ms - d->step_began_ms);
    if (d->cancelled)
        dialogue_free(d);
    else if (dropped)
        end_at(d, ACCOUNTS_LATER, d->server->failure_delay_ms); /* not at once, or he would ask again at once */
    else if (d->outcome == CHECKPASSWORD_RIGHT)
        password_is_right(d);
    else if (d->outcome == CHECKPASSWORD_UNKNOWN)
        end(d, ACCOUNTS_TEMPFAIL);
    else
        fail(d, "authentication failure");
}

static void check(struct dialogue *d, const struct account *a)
{
    struct accounts_server *s = d->server;

    d->check = a->source == ACCOUNT_COMMAND ? CHECK_COMMAND : a->hash[0] == '\0' ? CHECK_NOTHING : CHECK_HASH;
    d->hash = mem_str(a->hash);
    d->config = held_config_ref(s->config);
    d->job.class = bans_knows(s->bans, &d->addr, d->key)                      ? HASH_KNOWN
                   : bans_suspects(s->bans, s->loop->now_ms, &d->addr) ? HASH_SUSPECT
                                                                       : HASH_STRANGER;
    d->job.client = d->addr;
    d->job.run = check_run;
    d->job.done = check_done;
    d->job_runs = true;
    hash_pool_submit(d->check == CHECK_COMMAND ? s->commands : s->pool, &d->job);
}

static bool is_app_password(struct dialogue *d, const struct account *a, char name[USER_APP_NAME_MAX + 1])
{
    char normal[PASSWORD_APP_CHARS];
    struct err e;

    if (a->source != ACCOUNT_STORE || !password_app_normal(buf_bytes(&d->password), normal))
        return false;
    e = users_app_find(d->server->users, a->key, normal, name);
    secret_wipe(normal, sizeof normal);
    d->unable = err_failed(e) && e.kind != ERR_NOT_FOUND;
    return !err_failed(e);
}

static bool acts_for_himself(struct dialogue *d, const char *authzid, const char *key)
{
    char other[USER_ADDRESS_MAX + 1];

    return authzid == NULL || authzid[0] == '\0' ||
           (user_key(slice_str(authzid), d->server->config->c.domain, other) && strcmp(other, key) == 0) ||
           strcmp(authzid, d->name) == 0;
}

/* Who he says he is. False when that alone decides: d may be gone then. */
static bool introduce(struct dialogue *d, const struct sasl_step *step, struct account *a)
{
    struct accounts_server *s = d->server;

    remember_name(d, step->authid);
    account_find(s, d->name, a);
    strcpy(d->key, a->key);
    if (bans_refuses(s->bans, s->loop->now_ms, &d->addr, d->key))
        refuse(d);
    else if (!acts_for_himself(d, step->authzid, d->key))
        fail(d, "nobody may act for another user");
    else if (a->source == ACCOUNT_UNREADABLE)
        end(d, ACCOUNTS_TEMPFAIL);
    else
        return true;
    account_release(a);
    return false;
}

static void verify(struct dialogue *d, const struct sasl_step *step)
{
    struct accounts_server *s = d->server;
    char app[USER_APP_NAME_MAX + 1];
    struct account a;

    buf_reserve(&d->password, step->password.len + 1);
    buf_add(&d->password, step->password);
    if (!introduce(d, step, &a))
        return;
    if (is_app_password(d, &a, app))
        admit(d, &a, app);
    else if (d->unable)
        end(d, ACCOUNTS_TEMPFAIL);
    else if (a.hash[0] != '\0' &&
             verified_check(s->verified, s->loop->now_ms, a.key, a.hash, buf_bytes(&d->password)))
        admit(d, &a, NULL);
    else
        check(d, &a);
    account_release(&a);
}

/* ---- proofs ---------------------------------------------------------------------------------------- */

static void give_scram_keys(void *ctx, const char *authid, struct scram_keys *out)
{
    struct dialogue *d = ctx;
    struct accounts_server *s = d->server;
    struct account a;

    remember_name(d, authid);
    account_find(s, authid, &a);
    strcpy(d->key, a.key);
    d->refused = bans_refuses(s->bans, s->loop->now_ms, &d->addr, d->key);
    d->unable = a.source == ACCOUNT_UNREADABLE;
    account_scram(s, &a, authid, out);
    account_release(&a);
}

/* By SCRAM, or by a certificate whose name is a user's. */
static void proven(struct dialogue *d, const struct sasl_step *step)
{
    struct account a;

    if (!introduce(d, step, &a))
        return;
    if (a.source != ACCOUNT_STORE && a.source != ACCOUNT_FILE)
        fail(d, "there is no such user");
    else
        admit(d, &a, NULL);
    account_release(&a);
}

/* ---- steps -------------------------------------------------------------------------------------------- */

static void take_step(struct dialogue *d, const struct accounts_wire *w)
{
    struct accounts_server *s = d->server;
    struct accounts_wire answer = { .type = ACCOUNTS_WIRE_ANSWER, .id = d->known_as.id, .verdict = ACCOUNTS_CHALLENGE };
    struct sasl_step step;

    d->step_began_ms = s->loop->now_ms;
    sasl_step(d->sasl, w->response, w->has_response, &step);
    switch (step.state) {
    case SASL_CHALLENGE:
        answer.challenge = slice_head(step.challenge, ACCOUNTS_CHALLENGE_MAX);
        accounts_server_send(s, &answer);
        break;
    case SASL_VERIFY:
        verify(d, &step);
        break;
    case SASL_PROVEN:
        proven(d, &step);
        break;
    case SASL_FAILED:
        if (d->refused)
            refuse(d);
        else if (d->unable)
            end(d, ACCOUNTS_TEMPFAIL);
        else
            fail(d, step.why);
        break;
    case SASL_UNABLE: /* no reason to count it against him */
        log_warning("accounts", "a login can't be checked: %s", step.why);
        end(d, ACCOUNTS_TEMPFAIL);
        break;
    }
}

static bool mechanism_allowed(const char *mechanism, const struct accounts_wire *w)
{
    if (mechanism == NULL)
        return false;
    if (sasl_sends_password(mechanism))
        return w->tls || w->clear_ok;
    if (strcmp(mechanism, "SCRAM-SHA-256-PLUS") == 0)
        return w->tls && w->binding.len != 0;
    return strcmp(mechanism, "EXTERNAL") != 0 || (w->tls && w->has_external);
}

void dialogue_begin(struct accounts_server *s, const struct accounts_wire *w)
{
    char name[ACCOUNTS_NAME_MAX + 1], external[ACCOUNTS_NAME_MAX + 1];
    const char *mechanism;
    struct dialogue *d;

    memcpy(name, w->mechanism.len != 0 ? w->mechanism.ptr : "", w->mechanism.len);
    name[w->mechanism.len] = '\0';
    memcpy(external, w->external.len != 0 ? w->external.ptr : "", w->external.len);
    external[w->external.len] = '\0';
    mechanism = sasl_mechanism(name);
    if (find(s, w->id) != NULL || !mechanism_allowed(mechanism, w)) {
        answer_id(s, w->id, ACCOUNTS_BAD);
        return;
    }
    if (HASH_COUNT(s->dialogues) >= DIALOGUES_MAX) {
        answer_id(s, w->id, ACCOUNTS_LATER);
        return;
    }
    d = mem_new(struct dialogue);
    d->server = s;
    d->known_as = (struct dialogue_key){ s->link_serial, w->id };
    d->mechanism = mechanism;
    d->addr = w->addr;
    memcpy(d->service, w->service.ptr != NULL ? w->service.ptr : "", slice_head(w->service, sizeof d->service - 1).len);
    HASH_ADD(hh, s->dialogues, known_as, sizeof d->known_as, d);
    if (err_failed(sasl_begin(s->sasl, mechanism, w->binding, w->has_external ? external : NULL, give_scram_keys, d,
                              &d->sasl)))
        end(d, ACCOUNTS_TEMPFAIL);
    else
        take_step(d, w);
}

void dialogue_step(struct accounts_server *s, const struct accounts_wire *w)
{
    struct dialogue *d = find(s, w->id);

    if (d == NULL) /* it ended, or was of another accounts process */
        answer_id(s, w->id, ACCOUNTS_TEMPFAIL);
    else if (!d->job_runs && !timer_armed(&d->delay))
        take_step(d, w);
}
