/* Secret files that change on disk: noticed however they are replaced, taken
 * up once they are still, and only once. The engine is this test. */
#include "tests/unit/check_conf.h"

#include "base/log.h"
#include "base/mem.h"
#include "conf/conf.h"
#include "relayd/tree.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

struct play {
    struct tree t;
    struct clock clock;
    uint64_t now_ms;
    struct channel *engine; /* our side */
    struct scratch s;
};

static uint64_t play_now(void *ctx)
{
    return ((struct play *)ctx)->now_ms;
}

static void hold(struct play *p, const char *name)
{
    struct bundle *b = p->t.current.bundle;
    const char *path = scratch_path(&p->s, name);

    assert_ok(bundle_add(b, BUNDLE_SECRET, path, SLICE("as read"), NULL));
    b->entries[b->count - 1].stamp = conf_stamp(path);
    b->entries[b->count - 1].readers = CONF_FOR(PROCESS_ENGINE);
    watch_begin(&p->t);
}

/* The reload listens for a moment; on the default port somebody may be. */
static unsigned free_port(void)
{
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof sa;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&sa, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    close(fd);
    return ntohs(sa.sin_port);
}

static int setup(void **state)
{
    struct play *p = mem_new(struct play);
    struct buf text = { 0 };
    char config[512];
    int ends[2];

    log_open("test", LOG_LEVEL_FATAL);
    scratch_open(&p->s);
    snprintf(config, sizeof config,
             "hostname mx.relay.test\nlog { level error }\nstate_dir %s/state\nruntime_dir %s/run\n"
             "listen 127.0.0.1:%u\n",
             p->s.path, p->s.path, free_port());
    scratch_write(&p->s, "relayd.conf", config, 0600);
    p->now_ms = 1000;
    p->clock = (struct clock){ play_now, play_now, p };
    p->t = (struct tree){ .clock = &p->clock,
                          .config_path = strdup(scratch_path(&p->s, "relayd.conf")),
                          .phase = TREE_RUNNING };
    processes_init(&p->t);
    reload_init(&p->t);
    watch_init(&p->t);
    for (size_t i = 0; i < PROCESS_KINDS; i++)
        p->t.identities[i] = (struct identity){ .found = true, .uid = geteuid(), .gid = getegid() };
    assert_ok(generation_load(p->t.config_path, &p->t.current, &text));
    buf_release(&text);
    /* no listening socket: nobody is to come in */
    ((struct settings *)p->t.current.settings)->listen_count = 0;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    tree_engine(&p->t)->channel = channel_new(ends[0], CHANNEL_PARENT);
    p->engine = channel_new(ends[1], CHANNEL_CHILD);
    tree_engine(&p->t)->pid = getpid();
    tree_engine(&p->t)->reaped = true; /* nobody is to be killed */
    tree_engine(&p->t)->ready = tree_engine(&p->t)->wanted = true;
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct play *p = *state;

    watch_end(&p->t);
    reload_abandon(&p->t);
    generation_release(&p->t.current);
    channel_free(tree_engine(&p->t)->channel);
    channel_free(p->engine);
    timers_release(&p->t.timers);
    free((char *)p->t.config_path);
    scratch_close(&p->s);
    free(p);
    return 0;
}

static void pass(struct play *p, unsigned seconds)
{
    for (unsigned i = 0; i < seconds; i++) {
        p->now_ms += SECOND_MS;
        timers_run(&p->t.timers, p->now_ms);
    }
}

static void hear_nothing(struct play *p)
{
    struct channel_message m;

    assert_ok(channel_receive(p->engine, &m));
    assert_string_equal(channel_type_name(m.type), channel_type_name(CHANNEL_NOTHING));
    assert_int_equal(p->t.reload.state, RELOAD_NONE);
}

/* The RELOAD that the parent has sent, and what the engine may know of the file. */
static uint32_t hear_reload(struct play *p, const char *name, const char *contents)
{
    struct channel_message m;
    struct buf bytes = { 0 };
    struct bundle *b;
    const struct bundle_entry *e;
    ssize_t n;
    uint32_t serial;

    assert_ok(channel_receive(p->engine, &m));
    assert_string_equal(channel_type_name(m.type), channel_type_name(CHANNEL_RELOAD));
    n = pread(m.bundle_fd, buf_reserve(&bytes, 65536), 65536, 0);
    assert_true(n > 0);
    buf_extend(&bytes, (size_t)n);
    assert_ok(bundle_parse(buf_bytes(&bytes), &b));
    e = bundle_find(b, BUNDLE_SECRET, slice_str(scratch_path(&p->s, name)));
    assert_non_null(e);
    assert_slice_str(buf_bytes(&e->bytes), contents);
    bundle_free(b);
    buf_release(&bytes);
    serial = m.serial;
    channel_message_release(&m);
    return serial;
}

static void answer(struct play *p, uint32_t serial, bool ok)
{
    if (ok)
        assert_ok(channel_send(p->engine, CHANNEL_RELOAD_OK, serial));
    else
        assert_ok(channel_send_text(p->engine, CHANNEL_RELOAD_FAILED, serial, SLICE("does not fit")));
    process_read(tree_engine(&p->t));
    assert_int_equal(p->t.reload.state, RELOAD_NONE);
}

static void test_nothing_changes(void **state)
{
    struct play *p = *state;

    scratch_write(&p->s, "key", "one", 0600);
    hold(p, "key");
    pass(p, 60);
    hear_nothing(p);
}

static void test_written_over(void **state)
{
    struct play *p = *state;
    const struct settings *before = p->t.current.settings;

    scratch_write(&p->s, "key", "one", 0600);
    hold(p, "key");
    scratch_write(&p->s, "key", "other", 0600);
    pass(p, 3);
    hear_nothing(p); /* seen, but it may still be written */
    pass(p, 2);
    answer(p, hear_reload(p, "key", "other"), true);
    assert_ptr_not_equal(p->t.current.settings, before);
    pass(p, 20);
    hear_nothing(p);
}

static void test_renamed_over(void **state)
{
    struct play *p = *state;
    char fresh[256];

    scratch_write(&p->s, "key", "one", 0600);
    hold(p, "key");
    scratch_write(&p->s, "key.new", "two", 0600);
    snprintf(fresh, sizeof fresh, "%s", scratch_path(&p->s, "key.new"));
    assert_int_equal(rename(fresh, scratch_path(&p->s, "key")), 0);
    pass(p, 6);
    answer(p, hear_reload(p, "key", "two"), true);
    pass(p, 20);
    hear_nothing(p);
}

/* live/key -> archive/key1, then -> archive/key2 */
static void test_link_turned(void **state)
{
    struct play *p = *state;
    char fresh[256];

    scratch_write(&p->s, "key1", "one", 0600);
    scratch_write(&p->s, "key2", "two", 0600);
    assert_int_equal(symlink("key1", scratch_path(&p->s, "key")), 0);
    hold(p, "key");
    pass(p, 6);
    hear_nothing(p);
    assert_int_equal(symlink("key2", scratch_path(&p->s, "key.new")), 0);
    snprintf(fresh, sizeof fresh, "%s", scratch_path(&p->s, "key.new"));
    assert_int_equal(rename(fresh, scratch_path(&p->s, "key")), 0);
    pass(p, 6);
    answer(p, hear_reload(p, "key", "two"), true);
}

/* The certificate is new, its key follows: one reload for both. */
static void test_waits_until_it_is_still(void **state)
{
    struct play *p = *state;

    scratch_write(&p->s, "certificate", "one", 0600);
    scratch_write(&p->s, "key", "one", 0600);
    hold(p, "certificate");
    hold(p, "key");
    scratch_write(&p->s, "certificate", "second", 0600);
    pass(p, 3);
    scratch_write(&p->s, "key", "second", 0600);
    pass(p, 2);
    hear_nothing(p);
    pass(p, 2);
    answer(p, hear_reload(p, "key", "second"), true);
    hear_nothing(p);
}

/* What is refused is not tried again until it changes again. */
static void test_refused_once(void **state)
{
    struct play *p = *state;
    const struct settings *before = p->t.current.settings;

    scratch_write(&p->s, "key", "one", 0600);
    hold(p, "key");
    scratch_write(&p->s, "key", "broken", 0600);
    pass(p, 6);
    answer(p, hear_reload(p, "key", "broken"), false);
    assert_ptr_equal(p->t.current.settings, before);
    pass(p, 60);
    hear_nothing(p);
    scratch_write(&p->s, "key", "mended", 0600);
    pass(p, 6);
    answer(p, hear_reload(p, "key", "mended"), true);
}

/* The text on disk may be half edited: it is not looked at. */
static void test_text_is_left_alone(void **state)
{
    struct play *p = *state;

    scratch_write(&p->s, "key", "one", 0600);
    hold(p, "key");
    scratch_write(&p->s, "relayd.conf", "hostname", 0600);
    scratch_write(&p->s, "key", "other", 0600);
    pass(p, 6);
    answer(p, hear_reload(p, "key", "other"), true);
    assert_string_equal(p->t.current.settings->hostname, "mx.relay.test");
}

static void test_there_and_back(void **state)
{
    struct play *p = *state;
    char here[256], away[256];

    scratch_write(&p->s, "key", "one", 0600);
    snprintf(here, sizeof here, "%s", scratch_path(&p->s, "key"));
    snprintf(away, sizeof away, "%s", scratch_path(&p->s, "away"));
    hold(p, "key");
    assert_int_equal(rename(here, away), 0);
    pass(p, 2);
    assert_int_equal(rename(away, here), 0); /* its change time tells: read again, to be sure */
    pass(p, 6);
    answer(p, hear_reload(p, "key", "one"), true);
    pass(p, 20);
    hear_nothing(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define EACH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
        EACH(test_nothing_changes),   EACH(test_written_over),
        EACH(test_renamed_over),      EACH(test_link_turned),
        EACH(test_waits_until_it_is_still), EACH(test_refused_once),
        EACH(test_text_is_left_alone), EACH(test_there_and_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
