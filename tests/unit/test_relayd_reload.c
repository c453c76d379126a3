/* Reloads as the engine sees and asks for them: the parent's side of the
 * dialogue, played against an engine that is this test. */
#include "tests/unit/check.h"

#include "base/log.h"
#include "base/mem.h"
#include "relayd/tree.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

struct play {
    struct tree t;
    struct channel *engine; /* our side */
    char dir[64];
    char file[96];
    int free_ports[3];
};

/* Ports nobody listens on at the moment. */
static int free_port(void)
{
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof sa;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    close(fd);
    return ntohs(sa.sin_port);
}

/* A configuration with the first `listeners` of our ports, and one more line. */
static void write_config(struct play *p, int listeners, const char *extra)
{
    FILE *f = fopen(p->file, "we");

    assert_non_null(f);
    fprintf(f, "hostname mx.relay.test\nstate_dir %s/state\nruntime_dir %s/run\n", p->dir, p->dir);
    for (int i = 0; i < listeners; i++)
        fprintf(f, "listen 127.0.0.1:%d\n", p->free_ports[i]);
    fprintf(f, "%s\n", extra);
    fclose(f);
}

static struct play *play_new(void)
{
    struct play *p = mem_new(struct play);
    struct buf text = { 0 };
    int ends[2];

    log_open("test", LOG_LEVEL_FATAL);
    snprintf(p->dir, sizeof p->dir, "/tmp/relayd-reload.XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    snprintf(p->file, sizeof p->file, "%s/relayd.conf", p->dir);
    for (size_t i = 0; i < countof(p->free_ports); i++)
        p->free_ports[i] = free_port();
    write_config(p, 1, "");
    p->t = (struct tree){ .config_path = p->file, .clock = &clock_system, .phase = TREE_RUNNING };
    processes_init(&p->t);
    reload_init(&p->t);
    for (size_t i = 0; i < PROCESS_KINDS; i++)
        p->t.identities[i] = (struct identity){ .found = true, .uid = geteuid(), .gid = getegid() };
    assert_ok(generation_load(p->file, &p->t.current, &text));
    assert_ok(
        sockets_open(&p->t.current.sockets, p->t.current.settings, &(struct sockets){ 0 }, &text));
    buf_release(&text);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    tree_engine(&p->t)->channel = channel_new(ends[0], CHANNEL_PARENT);
    p->engine = channel_new(ends[1], CHANNEL_CHILD);
    tree_engine(&p->t)->pid = getpid();
    tree_engine(&p->t)->reaped = true; /* nobody is to be killed */
    tree_engine(&p->t)->ready = true;
    tree_engine(&p->t)->wanted = true;
    return p;
}

static void remove_folder(struct play *p, const char *name)
{
    char path[96];

    snprintf(path, sizeof path, strcmp(name, ".") == 0 ? "%s" : "%s/%s", p->dir, name);
    rmdir(path); /* a reload that fails early has made none */
}

static void play_free(struct play *p)
{
    watch_end(&p->t);
    reload_abandon(&p->t);
    generation_release(&p->t.current);
    channel_free(tree_engine(&p->t)->channel);
    channel_free(p->engine);
    timers_release(&p->t.timers);
    unlink(p->file);
    remove_folder(p, "state");
    remove_folder(p, "run");
    remove_folder(p, ".");
    free(p);
}

/* What the parent has just said; the caller releases it. */
static struct channel_message hear(struct play *p, enum channel_type want)
{
    struct channel_message m;

    assert_ok(channel_receive(p->engine, &m));
    assert_string_equal(channel_type_name(m.type), channel_type_name(want));
    return m;
}

static uint32_t hear_reload(struct play *p, size_t listeners)
{
    struct channel_message m = hear(p, CHANNEL_RELOAD);
    uint32_t serial = m.serial;
    struct diagnostics d = { 0 };
    struct settings *settings;

    assert_int_equal(m.listener_count, listeners);
    assert_ok(generation_settings(m.bundle_fd, &d, &settings));
    assert_int_equal(settings->listen_count, listeners);
    assert_string_equal(settings->hostname, "mx.relay.test");
    /* sealed: not even its owner changes it */
    assert_int_equal(pwrite(m.bundle_fd, "x", 1, 0), -1);
    assert_int_equal(ftruncate(m.bundle_fd, 0), -1);
    settings_unref(settings);
    diagnostics_release(&d);
    channel_message_release(&m);
    return serial;
}

static void hear_outcome(struct play *p, uint32_t serial, bool ok, const char *part)
{
    struct channel_message m = hear(p, CHANNEL_RELOAD_OUTCOME);
    char *text = strndup(m.text.ptr, m.text.len);

    assert_int_equal(m.serial, serial);
    assert_int_equal(m.ok, ok);
    if (part != NULL && strstr(text, part) == NULL)
        fail_msg("no \"%s\" in \"%s\"", part, text);
    free(text);
    channel_message_release(&m);
}

static void hear_nothing(struct play *p)
{
    struct channel_message m = hear(p, CHANNEL_NOTHING);

    channel_message_release(&m);
}

static void ask(struct play *p, uint32_t serial)
{
    assert_ok(channel_send(p->engine, CHANNEL_RELOAD_REQUEST, serial));
    process_read(tree_engine(&p->t));
}

static void answer(struct play *p, uint32_t serial)
{
    assert_ok(channel_send(p->engine, CHANNEL_RELOAD_OK, serial));
    process_read(tree_engine(&p->t));
}

static void test_asked_and_done(void **state)
{
    struct play *p = play_new();

    write_config(p, 3, "");
    ask(p, 7);
    answer(p, hear_reload(p, 3));
    hear_outcome(p, 7, true, NULL);
    assert_int_equal(p->t.current.sockets.len, 3);
    hear_nothing(p);
    play_free(p);
}

static void test_engine_refuses(void **state)
{
    struct play *p = play_new();
    const struct settings *before = p->t.current.settings;
    uint32_t serial;

    write_config(p, 2, "");
    ask(p, 8);
    serial = hear_reload(p, 2);
    assert_ok(channel_send_text(p->engine, CHANNEL_RELOAD_FAILED, serial, SLICE("no memory")));
    process_read(tree_engine(&p->t));
    hear_outcome(p, 8, false, "no memory");
    assert_ptr_equal(p->t.current.settings, before);
    assert_int_equal(p->t.current.sockets.len, 1);
    play_free(p);
}

static void test_broken_configuration(void **state)
{
    struct play *p = play_new();

    write_config(p, 2, "mesage_size 20M");
    ask(p, 9);
    hear_outcome(p, 9, false, "relayd.conf:6:1: error");
    assert_int_equal(p->t.current.sockets.len, 1);
    unlink(p->file);
    ask(p, 10);
    hear_outcome(p, 10, false, "No such file");
    hear_nothing(p);
    play_free(p);
}

/* Who asks while a reload is under way may have changed the file since it was
 * read: it is read again, once for all of them. */
static void test_asked_meanwhile(void **state)
{
    struct play *p = play_new();

    ask(p, 1);
    write_config(p, 2, "");
    ask(p, 2);
    ask(p, 3);
    reload_begin(&p->t); /* and a signal */
    answer(p, hear_reload(p, 1));
    hear_outcome(p, 1, true, NULL);
    answer(p, hear_reload(p, 2));
    hear_outcome(p, 2, true, NULL);
    hear_outcome(p, 3, true, NULL);
    hear_nothing(p);
    play_free(p);
}

static void test_answers_nobody_asked_for(void **state)
{
    struct play *p = play_new();
    uint32_t serial;

    answer(p, 0);
    answer(p, 1);
    assert_int_equal(p->t.reload.state, RELOAD_NONE);
    write_config(p, 2, "");
    reload_begin(&p->t);
    serial = hear_reload(p, 2);
    answer(p, serial + 1);
    answer(p, serial - 1);
    assert_int_equal(p->t.reload.state, RELOAD_HANDED);
    answer(p, serial);
    assert_int_equal(p->t.current.sockets.len, 2);
    answer(p, serial); /* twice */
    assert_int_equal(p->t.reload.state, RELOAD_NONE);
    play_free(p);
}

static void test_engine_that_breaks_the_rules(void **state)
{
    struct play *p = play_new();

    assert_ok(channel_send_stop(p->engine, 1)); /* the parent's word */
    process_read(tree_engine(&p->t));
    assert_null(tree_engine(&p->t)->channel);
    assert_int_equal(p->t.phase, TREE_RUNNING);
    play_free(p);
}

static void test_engine_not_ready_yet(void **state)
{
    struct play *p = play_new();

    tree_engine(&p->t)->ready = false;
    reload_begin(&p->t);
    assert_int_equal(p->t.reload.state, RELOAD_WAITING);
    hear_nothing(p);
    assert_ok(channel_send(p->engine, CHANNEL_READY, 0));
    process_read(tree_engine(&p->t));
    answer(p, hear_reload(p, 1));
    assert_int_equal(p->t.reload.state, RELOAD_NONE);
    play_free(p);
}

/* relayctl stop: asks the parent, who then orders it. */
static void test_stop_asked_during_a_reload(void **state)
{
    struct play *p = play_new();
    struct channel_message m;

    ask(p, 4);
    hear_reload(p, 1);
    assert_ok(channel_send(p->engine, CHANNEL_STOP_REQUEST, 0));
    process_read(tree_engine(&p->t));
    assert_int_equal(p->t.phase, TREE_STOPPING);
    hear_outcome(p, 4, false, "told to stop");
    m = hear(p, CHANNEL_STOP);
    assert_int_equal(m.drain_ms, 25000);
    channel_message_release(&m);
    assert_int_equal(p->t.current.sockets.len, 0);
    ask(p, 5); /* too late for that */
    hear_nothing(p);
    play_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_asked_and_done),
        cmocka_unit_test(test_engine_refuses),
        cmocka_unit_test(test_broken_configuration),
        cmocka_unit_test(test_asked_meanwhile),
        cmocka_unit_test(test_answers_nobody_asked_for),
        cmocka_unit_test(test_engine_that_breaks_the_rules),
        cmocka_unit_test(test_engine_not_ready_yet),
        cmocka_unit_test(test_stop_asked_during_a_reload),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
