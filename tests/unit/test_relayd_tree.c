/* Several processes under one parent: who is started, linked, given the new
 * configuration, and what the death of one means to the others. This program
 * is its own children: started under a child's title it plays that part. */
#include "tests/unit/check.h"

#include "base/log.h"
#include "base/mem.h"
#include "net/ipc.h"
#include "relayd/child.h"
#include "relayd/helper.h"
#include "relayd/tree.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#define PATIENCE_MS (20 * SECOND_MS)

/* ---- the children: what they hear goes into files ---- */

struct line { /* a link, told apart by its peer */
    struct actor *actor;
    struct ipc *ipc;
    unsigned peer, index;
};

struct actor {
    const char *name;
    struct helper *helper;
    struct loop *loop;
    char dir[96];
    struct line lines[8];
    size_t line_count;
};

static void note(const char *dir, const char *who, const char *text)
{
    char path[128];
    FILE *f;

    snprintf(path, sizeof path, "%s/heard", dir);
    f = fopen(path, "ae");
    if (f == NULL)
        _exit(EX_SOFTWARE);
    fprintf(f, "%s: %s\n", who, text);
    fclose(f);
}

static void heard(void *ctx, struct slice payload, int fd)
{
    struct line *l = ctx;
    char text[128];

    snprintf(text, sizeof text, "from %s/%u %.*s", process_kinds[l->peer].name, l->index,
             (int)payload.len, payload.ptr);
    note(l->actor->dir, l->actor->name, text);
    if (slice_eq(payload, SLICE("hello")))
        ipc_send(l->ipc, SLICE("hello yourself"), -1);
}

static void line_closed(void *ctx, struct err why)
{
    struct line *l = ctx;

    ipc_free(l->ipc);
    l->ipc = NULL;
    if (strcmp(l->actor->name, "engine") != 0)
        helper_unlinked(l->actor->helper);
}

static bool actor_linked(const void *server)
{
    const struct actor *a = server;

    for (size_t i = 0; i < countof(a->lines); i++)
        if (a->lines[i].ipc != NULL)
            return true;
    return false;
}

/* As when a call fails for want of memory: both go on, without each other. */
static void cut_lines(struct actor *a)
{
    for (size_t i = 0; i < countof(a->lines); i++) {
        ipc_free(a->lines[i].ipc);
        a->lines[i].ipc = NULL;
    }
}

static void actor_link(void *server, enum process_kind peer, unsigned index, int fd)
{
    static const struct ipc_events events = { heard, line_closed };
    struct actor *a = server;
    struct line *l = &a->lines[a->line_count++ % countof(a->lines)];

    ipc_free(l->ipc);
    *l = (struct line){ .actor = a, .peer = peer, .index = index };
    if (err_failed(ipc_new(a->loop, fd, &events, l, &l->ipc)))
        _exit(EX_OSERR);
    if (peer != PROCESS_ENGINE) /* we are the engine: it asks */
        ipc_send(l->ipc, SLICE("hello"), -1);
}

static struct err actor_start(const char *name, struct helper *h, struct loop *loop,
                              const struct settings *st, void **server)
{
    struct actor *a = mem_new(struct actor);
    char text[64];

    a->name = name;
    a->helper = h;
    a->loop = loop;
    snprintf(a->dir, sizeof a->dir, "%s", st->state_dir);
    snprintf(text, sizeof text, "started with %s", st->hostname);
    note(a->dir, name, text);
    *server = a;
    return ERR_OK;
}

static struct err engine_start(struct helper *h, struct loop *l, const struct settings *st, void **s,
                               int *exit_code, struct buf *why)
{
    return actor_start("engine", h, l, st, s);
}

static struct err accounts_start(struct helper *h, struct loop *l, const struct settings *st,
                                 void **s, int *exit_code, struct buf *why)
{
    if (strcmp(st->hostname, "never.test") == 0) {
        *exit_code = EX_CANTCREAT;
        buf_add_str(why, "this can't ever work");
        return err_make(ERR_DENIED, "begin");
    }
    return actor_start("accounts", h, l, st, s);
}

static struct err sign_start(struct helper *h, struct loop *l, const struct settings *st, void **s,
                             int *exit_code, struct buf *why)
{
    if (strcmp(st->hostname, "crash.test") == 0)
        abort();
    if (strcmp(st->hostname, "once.test") == 0)
        helper_finish(h);
    return actor_start("sign", h, l, st, s);
}

static struct err actor_reload(void *server, const struct settings *st, struct buf *why)
{
    struct actor *a = server;
    char text[64];

    if (strcmp(a->name, "accounts") == 0 && strcmp(st->hostname, "refused.test") == 0) {
        buf_add_str(why, "no such users");
        return err_make(ERR_SYNTAX, "take the configuration");
    }
    if (strcmp(a->name, "engine") == 0 && strcmp(st->hostname, "cut.test") == 0)
        cut_lines(a);
    snprintf(text, sizeof text, "reloaded with %s", st->hostname);
    note(a->dir, a->name, text);
    return ERR_OK;
}

static void actor_free(void *server)
{
    struct actor *a = server;

    for (size_t i = 0; i < countof(a->lines); i++)
        ipc_free(a->lines[i].ipc);
    note(a->dir, a->name, "ended");
    free(a);
}

static const struct helper_ops parts[PROCESS_KINDS] = {
    [PROCESS_ENGINE] = { "engine", engine_start, actor_reload, actor_link, actor_linked, actor_free },
    [PROCESS_ACCOUNTS] = { "accounts", accounts_start, actor_reload, actor_link, actor_linked, actor_free },
    [PROCESS_SIGN] = { "sign", sign_start, actor_reload, actor_link, actor_linked, actor_free },
};

/* ---- the parent ---- */

struct play {
    struct tree t;
    struct clock clock;
    uint64_t ahead_ms; /* of the system's clock */
    char dir[64];
    char file[96];
};

static uint64_t play_mono(void *ctx)
{
    const struct play *p = ctx;

    return clock_mono_ms(&clock_system) + p->ahead_ms;
}

static uint64_t play_wall(void *ctx)
{
    return clock_wall_ms(&clock_system);
}

/* "errors" stands for the number of processes besides the engine. */
static unsigned wanted(enum process_kind kind, const struct settings *s)
{
    unsigned others = s->limits.errors - 1;

    if (kind == PROCESS_ENGINE)
        return 1;
    if (kind == PROCESS_ACCOUNTS)
        return others > 0;
    return others > 1 ? others - 1 : 0;
}

static void write_config(struct play *p, const char *hostname, unsigned others)
{
    FILE *f = fopen(p->file, "we");

    assert_non_null(f);
    fprintf(f, "hostname %s\nstate_dir state\nruntime_dir run\nlimits { errors %u }\n", hostname,
            others + 1);
    fclose(f);
}

static struct play *play_new(const char *hostname, unsigned others)
{
    struct play *p = mem_new(struct play);
    struct buf text = { 0 };
    int exit_code;

    log_open("test", LOG_LEVEL_FATAL);
    snprintf(p->dir, sizeof p->dir, "/tmp/relayd-tree.XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    snprintf(p->file, sizeof p->file, "%s/relayd.conf", p->dir);
    write_config(p, hostname, others);
    p->clock = (struct clock){ play_mono, play_wall, p };
    p->t = (struct tree){ .config_path = p->file,
                          .clock = &p->clock,
                          .phase = TREE_RUNNING,
                          .wanted = wanted };
    processes_init(&p->t);
    reload_init(&p->t);
    for (size_t i = 0; i < PROCESS_KINDS; i++)
        p->t.identities[i] = (struct identity){ .found = true, .uid = geteuid(), .gid = getegid() };
    assert_ok(generation_load(p->file, &p->t.current, &text));
    assert_ok(places_prepare(&p->t, p->t.current.settings, &exit_code, &text));
    buf_release(&text);
    processes_want(&p->t);
    return p;
}

static void turn(struct play *p)
{
    int status;
    pid_t pid;

    tree_foreach(process, &p->t)
        process_read(process);
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        tree_foreach(process, &p->t)
            if (process->pid == pid) {
                process_ended(process, status);
                break;
            }
    timers_run(&p->t.timers, tree_now(&p->t));
    usleep(2000);
}

#define turn_until(p, condition)                                                                   \
    do {                                                                                           \
        uint64_t until_ = clock_mono_ms(&clock_system) + PATIENCE_MS;                              \
        while (!(condition)) {                                                                     \
            if (clock_mono_ms(&clock_system) > until_)                                             \
                fail_msg("in vain: %s", #condition);                                               \
            turn(p);                                                                               \
        }                                                                                          \
    } while (0)

static void play_free(struct play *p)
{
    char command[128];

    if (!p->t.done) {
        tree_stop(&p->t);
        turn_until(p, p->t.done);
    }
    tree_foreach(process, &p->t)
        assert_int_equal(process->pid, 0);
    reload_abandon(&p->t);
    generation_release(&p->t.current);
    timers_release(&p->t.timers);
    snprintf(command, sizeof command, "rm -rf %s", p->dir);
    assert_int_equal(system(command), 0);
    free(p);
}

/* How often the line was noted. */
static unsigned noted(struct play *p, const char *line)
{
    char path[128], got[256];
    unsigned n = 0;
    FILE *f;

    snprintf(path, sizeof path, "%s/state/heard", p->dir);
    f = fopen(path, "re");
    if (f == NULL)
        return 0;
    while (fgets(got, sizeof got, f) != NULL) {
        got[strcspn(got, "\n")] = '\0';
        n += strcmp(got, line) == 0;
    }
    fclose(f);
    return n;
}

static struct process *sign_at(struct play *p, unsigned index)
{
    return &p->t.processes[PROCESS_SIGN + index];
}

static struct process *accounts_of(struct play *p)
{
    return &p->t.processes[PROCESS_ACCOUNTS];
}

/* Kills it and waits until another is ready in its place. */
static void kill_and_wait(struct play *p, struct process *process, int signo)
{
    pid_t before = process->pid;

    assert_int_equal(kill(before, signo), 0);
    turn_until(p, process->ready && process->pid != before);
}

static void test_only_those_that_are_needed(void **state)
{
    struct play *p = play_new("a.test", 0);
    char path[96];
    struct stat st;

    turn_until(p, p->t.up);
    assert_int_equal(accounts_of(p)->pid, 0);
    assert_int_equal(sign_at(p, 0)->pid, 0);
    snprintf(path, sizeof path, "%s/state/accounts", p->dir);
    assert_int_equal(stat(path, &st), -1);
    play_free(p);
}

static void test_all_linked(void **state)
{
    struct play *p = play_new("a.test", 3);
    char path[96];
    struct stat st;

    turn_until(p, p->t.up);
    assert_true(accounts_of(p)->ready);
    assert_true(sign_at(p, 0)->ready);
    assert_true(sign_at(p, 1)->ready);
    assert_int_equal(sign_at(p, 2)->pid, 0);
    turn_until(p, noted(p, "engine: from accounts/0 hello yourself") == 1);
    turn_until(p, noted(p, "engine: from sign/0 hello yourself") == 1);
    turn_until(p, noted(p, "engine: from sign/1 hello yourself") == 1);
    snprintf(path, sizeof path, "%s/state/accounts", p->dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    play_free(p);
}

/* The one that died gets a new link; so does everybody when it was the engine. */
static void test_links_are_renewed(void **state)
{
    struct play *p = play_new("a.test", 3);
    pid_t accounts;

    turn_until(p, p->t.up);
    turn_until(p, noted(p, "engine: from sign/1 hello yourself") == 1);
    accounts = accounts_of(p)->pid;
    kill_and_wait(p, sign_at(p, 1), SIGKILL);
    turn_until(p, noted(p, "engine: from sign/1 hello yourself") == 2);
    kill_and_wait(p, tree_engine(&p->t), SIGKILL);
    turn_until(p, noted(p, "engine: from accounts/0 hello yourself") == 2);
    turn_until(p, noted(p, "engine: from sign/0 hello yourself") == 2);
    turn_until(p, noted(p, "engine: from sign/1 hello yourself") == 3);
    assert_int_equal(accounts_of(p)->pid, accounts);
    play_free(p);
}

/* It broke while both live: whoever is not the engine asks for another. */
static void test_36_broken_links_are_renewed(void **state)
{
    struct play *p = play_new("a.test", 3);
    pid_t engine, accounts;

    turn_until(p, p->t.up);
    turn_until(p, noted(p, "engine: from accounts/0 hello yourself") == 1);
    turn_until(p, noted(p, "engine: from sign/1 hello yourself") == 1);
    engine = tree_engine(&p->t)->pid;
    accounts = accounts_of(p)->pid;
    write_config(p, "cut.test", 3);
    reload_begin(&p->t);
    turn_until(p, noted(p, "engine: from accounts/0 hello yourself") == 2);
    turn_until(p, noted(p, "engine: from sign/0 hello yourself") == 2);
    turn_until(p, noted(p, "engine: from sign/1 hello yourself") == 2);
    assert_int_equal(tree_engine(&p->t)->pid, engine);
    assert_int_equal(accounts_of(p)->pid, accounts);
    play_free(p);
}

/* A worker that dies each time it begins is started at 0, 1, 2, 4 … s; the
 * others never notice, and the tree is up all the same. */
static void test_crash_loop_of_one(void **state)
{
    struct play *p = play_new("crash.test", 2);
    struct process *sign = sign_at(p, 0);
    pid_t engine;

    turn_until(p, p->t.up);
    engine = tree_engine(&p->t)->pid;
    for (unsigned deaths = 2; deaths < 8; deaths++) {
        uint64_t wait_ms = SECOND_MS << (deaths - 2 < 5 ? deaths - 2 : 5);

        turn_until(p, sign->early_deaths == deaths && sign->pid == 0);
        wait_ms = wait_ms < 30 * SECOND_MS ? wait_ms : 30 * SECOND_MS;
        p->ahead_ms += wait_ms - 500;
        turn(p);
        assert_int_equal(sign->pid, 0); /* not yet */
        p->ahead_ms += 500;
        turn(p);
    }
    assert_int_equal(tree_engine(&p->t)->pid, engine);
    assert_true(accounts_of(p)->ready);
    assert_int_equal(accounts_of(p)->early_deaths, 0);
    play_free(p);
}

/* It ends by itself once it has done its part: replaced, not suspected. */
static void test_worker_is_recycled(void **state)
{
    struct play *p = play_new("a.test", 2);
    struct process *sign = sign_at(p, 0);
    pid_t before;

    turn_until(p, p->t.up);
    before = sign->pid;
    p->ahead_ms += 2 * SECOND_MS;
    write_config(p, "once.test", 2);
    /* the next one to start finishes at once */
    reload_begin(&p->t);
    turn_until(p, p->t.reload.state == RELOAD_NONE);
    kill(before, SIGKILL);
    turn_until(p, noted(p, "sign: started with once.test") == 1);
    turn_until(p, noted(p, "sign: ended") >= 1);
    turn_until(p, noted(p, "sign: started with once.test") >= 2);
    play_free(p);
}

static void reload(struct play *p, const char *hostname, unsigned others)
{
    write_config(p, hostname, others);
    reload_begin(&p->t);
    turn_until(p, p->t.reload.state == RELOAD_NONE);
}

static void test_reload_reaches_all(void **state)
{
    struct play *p = play_new("a.test", 2);

    turn_until(p, p->t.up);
    reload(p, "b.test", 2);
    assert_string_equal(p->t.current.settings->hostname, "b.test");
    assert_int_equal(noted(p, "engine: reloaded with b.test"), 1);
    assert_int_equal(noted(p, "accounts: reloaded with b.test"), 1);
    assert_int_equal(noted(p, "sign: reloaded with b.test"), 1);
    play_free(p);
}

/* One says no: those who said yes get the old one back. */
static void test_reload_of_all_or_none(void **state)
{
    struct play *p = play_new("a.test", 2);
    pid_t accounts, sign, engine;

    turn_until(p, p->t.up);
    accounts = accounts_of(p)->pid;
    sign = sign_at(p, 0)->pid;
    engine = tree_engine(&p->t)->pid;
    reload(p, "refused.test", 2);
    assert_string_equal(p->t.current.settings->hostname, "a.test");
    turn_until(p, noted(p, "engine: reloaded with a.test") == 1);
    turn_until(p, noted(p, "sign: reloaded with a.test") == 1);
    assert_int_equal(noted(p, "engine: reloaded with refused.test"), 1);
    assert_int_equal(noted(p, "accounts: reloaded with a.test"), 0);
    /* and life goes on */
    reload(p, "b.test", 2);
    assert_string_equal(p->t.current.settings->hostname, "b.test");
    assert_int_equal(accounts_of(p)->pid, accounts);
    assert_int_equal(sign_at(p, 0)->pid, sign);
    assert_int_equal(tree_engine(&p->t)->pid, engine);
    play_free(p);
}

static void test_reload_starts_and_stops(void **state)
{
    struct play *p = play_new("a.test", 0);
    pid_t engine;

    turn_until(p, p->t.up);
    engine = tree_engine(&p->t)->pid;
    reload(p, "b.test", 3);
    turn_until(p, accounts_of(p)->ready && sign_at(p, 0)->ready && sign_at(p, 1)->ready);
    turn_until(p, noted(p, "engine: from sign/1 hello yourself") == 1);
    reload(p, "c.test", 1);
    turn_until(p, sign_at(p, 0)->pid == 0 && sign_at(p, 1)->pid == 0);
    turn_until(p, noted(p, "sign: ended") == 2);
    assert_true(accounts_of(p)->ready);
    assert_int_equal(tree_engine(&p->t)->pid, engine);
    play_free(p);
}

static void test_dies_during_a_reload(void **state)
{
    struct play *p = play_new("a.test", 2);

    turn_until(p, p->t.up);
    kill(accounts_of(p)->pid, SIGSTOP);
    write_config(p, "b.test", 2);
    reload_begin(&p->t);
    turn_until(p, noted(p, "engine: reloaded with b.test") == 1);
    assert_int_equal(p->t.reload.state, RELOAD_HANDED);
    kill_and_wait(p, accounts_of(p), SIGKILL);
    assert_int_equal(p->t.reload.state, RELOAD_NONE);
    assert_string_equal(p->t.current.settings->hostname, "a.test");
    turn_until(p, noted(p, "engine: reloaded with a.test") == 1);
    assert_int_equal(noted(p, "accounts: started with a.test"), 2);
    play_free(p);
}

/* It had said yes, and ends while others have not yet: no reason to refuse, and
 * the one in its place begins with what comes of it. */
static void test_ends_after_its_yes(void **state)
{
    struct play *p = play_new("a.test", 2);
    pid_t accounts;

    turn_until(p, p->t.up);
    accounts = accounts_of(p)->pid;
    kill(sign_at(p, 0)->pid, SIGSTOP);
    write_config(p, "b.test", 2);
    reload_begin(&p->t);
    turn_until(p, accounts_of(p)->answer == ANSWER_YES);
    kill(accounts, SIGKILL);
    turn_until(p, accounts_of(p)->pid == 0);
    for (int i = 0; i < 20; i++)
        turn(p);
    assert_int_equal(accounts_of(p)->pid, 0); /* not with the old one any more */
    kill(sign_at(p, 0)->pid, SIGCONT);
    turn_until(p, accounts_of(p)->ready);
    assert_string_equal(p->t.current.settings->hostname, "b.test");
    assert_int_equal(noted(p, "accounts: started with b.test"), 1);

    /* and when it is refused in the end */
    accounts = accounts_of(p)->pid;
    kill(sign_at(p, 0)->pid, SIGSTOP);
    write_config(p, "c.test", 2);
    reload_begin(&p->t);
    turn_until(p, accounts_of(p)->answer == ANSWER_YES);
    kill(accounts, SIGKILL);
    turn_until(p, accounts_of(p)->pid == 0);
    kill(sign_at(p, 0)->pid, SIGKILL);
    turn_until(p, p->t.reload.state == RELOAD_NONE);
    p->ahead_ms += 5 * SECOND_MS;
    turn_until(p, accounts_of(p)->ready && sign_at(p, 0)->ready);
    assert_string_equal(p->t.current.settings->hostname, "b.test");
    assert_int_equal(noted(p, "accounts: started with b.test"), 2);
    play_free(p);
}

/* It does not hold up the others for ever. */
static void test_hangs_during_a_reload(void **state)
{
    struct play *p = play_new("a.test", 2);
    pid_t hung;

    turn_until(p, p->t.up);
    hung = accounts_of(p)->pid;
    kill(hung, SIGSTOP);
    write_config(p, "b.test", 2);
    reload_begin(&p->t);
    turn_until(p, noted(p, "sign: reloaded with b.test") == 1);
    assert_int_equal(p->t.reload.state, RELOAD_HANDED);
    p->ahead_ms += 31 * SECOND_MS;
    turn_until(p, p->t.reload.state == RELOAD_NONE);
    assert_string_equal(p->t.current.settings->hostname, "a.test");
    turn_until(p, accounts_of(p)->ready && accounts_of(p)->pid != hung);
    reload(p, "b.test", 2);
    assert_string_equal(p->t.current.settings->hostname, "b.test");
    play_free(p);
}

/* What another try can't better ends the first start, and says by which code. */
static void test_first_start_that_cannot_work(void **state)
{
    struct play *p = play_new("never.test", 1);

    turn_until(p, p->t.done);
    assert_int_equal(p->t.exit_code, EX_CANTCREAT);
    tree_foreach(process, &p->t) {
        if (process->pid == 0)
            continue;
        kill(process->pid, SIGKILL);
        waitpid(process->pid, NULL, 0);
        process->pid = 0;
        channel_free(process->channel);
    }
    play_free(p);
}

/* The engine may need them to finish what is under way. */
static void test_others_stop_after_the_engine(void **state)
{
    struct play *p = play_new("a.test", 2);

    turn_until(p, p->t.up);
    kill(tree_engine(&p->t)->pid, SIGSTOP);
    tree_stop(&p->t);
    for (int i = 0; i < 50; i++)
        turn(p);
    assert_true(accounts_of(p)->pid != 0 && sign_at(p, 0)->pid != 0);
    kill(tree_engine(&p->t)->pid, SIGCONT);
    turn_until(p, p->t.done);
    assert_int_equal(p->t.exit_code, EX_OK);
    assert_int_equal(noted(p, "engine: ended"), 1);
    assert_int_equal(noted(p, "accounts: ended"), 1);
    assert_int_equal(noted(p, "sign: ended"), 1);
    play_free(p);
}

static void test_one_that_does_not_end(void **state)
{
    struct play *p = play_new("a.test", 2);

    turn_until(p, p->t.up);
    kill(sign_at(p, 0)->pid, SIGSTOP);
    tree_stop(&p->t);
    turn_until(p, accounts_of(p)->pid == 0);
    assert_false(p->t.done);
    p->ahead_ms += 2 * SECOND_MS;
    turn_until(p, p->t.done);
    assert_int_equal(noted(p, "sign: ended"), 0);
    play_free(p);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_those_that_are_needed),
        cmocka_unit_test(test_all_linked),
        cmocka_unit_test(test_links_are_renewed),
        cmocka_unit_test(test_36_broken_links_are_renewed),
        cmocka_unit_test(test_crash_loop_of_one),
        cmocka_unit_test(test_worker_is_recycled),
        cmocka_unit_test(test_reload_reaches_all),
        cmocka_unit_test(test_reload_of_all_or_none),
        cmocka_unit_test(test_reload_starts_and_stops),
        cmocka_unit_test(test_dies_during_a_reload),
        cmocka_unit_test(test_ends_after_its_yes),
        cmocka_unit_test(test_hangs_during_a_reload),
        cmocka_unit_test(test_first_start_that_cannot_work),
        cmocka_unit_test(test_others_stop_after_the_engine),
        cmocka_unit_test(test_one_that_does_not_end),
    };

    for (size_t i = 0; argc > 0 && i < PROCESS_KINDS; i++)
        if (strcmp(argv[0], process_kinds[i].title) == 0) {
            child_begin(argv[0]);
            return helper_main(CHANNEL_CHILD_FD, &parts[i]);
        }
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
