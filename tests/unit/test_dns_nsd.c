/* The resolver against a real name server, nsd, on a loopback port. */
#include "tests/unit/check.h"

#include "base/mem.h"
#include "dns/dns.h"
#include "net/uvloop.h"

#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static const char zone[] = "$ORIGIN dest.test.\n"
                           "$TTL 600\n"
                           "@ SOA ns root 1 3600 600 86400 30\n"
                           "@ NS ns\n"
                           "ns A 127.0.0.1\n"
                           "@ MX 20 mx2\n"
                           "@ MX 10 mx1\n"
                           "mx1 300 A 192.0.2.1\n"
                           "mx1 300 A 192.0.2.2\n"
                           "mx1 AAAA 2001:db8::1\n"
                           "mx2 A 192.0.2.3\n"
                           "www CNAME web\n"
                           "web CNAME mx2\n"
                           "null MX 0 .\n"
                           "txt TXT \"v=spf1 \" \"ip4:192.0.2.0/24 -all\"\n"
                           "quiet A 192.0.2.9\n";

struct fixture {
    char dir[64];
    pid_t pid;
    struct net_addr addr;
    struct loop *loop;
    struct resolver *resolver;
    struct timer guard;
    const struct dns_answer *answer;
};

static void write_file(const char *dir, const char *name, const char *text)
{
    char path[128];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void free_port(struct net_addr *out)
{
    struct sockaddr_storage sa;
    socklen_t len;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_true(net_addr_parse_port(SLICE("127.0.0.1:0"), out));
    len = net_addr_to_sockaddr(out, &sa);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, len), 0);
    getsockname(fd, (struct sockaddr *)&sa, &len);
    net_addr_from_sockaddr((struct sockaddr *)&sa, out);
    close(fd);
}

static void guard_fire(struct timer *t)
{
    fail_msg("no answer within 20 s");
}

/* nsd where ./check unpacks it, else where its package installs it. */
static bool find_nsd(char path[256])
{
    const char *peers = getenv("RELAYD_PEERS");

    snprintf(path, 256, "%s/usr/sbin/nsd", peers != NULL ? peers : "");
    if (access(path, X_OK) == 0)
        return true;
    strcpy(path, "/usr/sbin/nsd");
    return access(path, X_OK) == 0;
}

static void start_nsd(struct fixture *f)
{
    const char *libraries = getenv("RELAYD_PEERS_LIBRARIES");
    char conf[1024], program[256];

    assert_true(find_nsd(program));
    strcpy(f->dir, "/tmp/relayd-nsd-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    free_port(&f->addr);
    snprintf(conf, sizeof conf,
             "server:\n  ip-address: 127.0.0.1@%u\n  username: \"\"\n  zonesdir: \"%s\"\n"
             "  database: \"\"\n  pidfile: \"\"\n  logfile: \"%s/log\"\n  xfrdfile: \"%s/xfrd\"\n"
             "  zonelistfile: \"%s/zones\"\n  xfrdir: \"%s\"\n  server-count: 1\n  rrl-ratelimit: 0\n"
             "remote-control:\n  control-enable: no\n"
             "zone:\n  name: \"dest.test.\"\n  zonefile: \"zone\"\n",
             f->addr.port, f->dir, f->dir, f->dir, f->dir, f->dir);
    write_file(f->dir, "conf", conf);
    write_file(f->dir, "zone", zone);
    f->pid = fork();
    if (f->pid == 0) {
        char path[128];

        snprintf(path, sizeof path, "%s/conf", f->dir);
        if (freopen("/dev/null", "w", stdout) == NULL || freopen("/dev/null", "w", stderr) == NULL)
            _exit(1);
        if (libraries != NULL)
            setenv("LD_LIBRARY_PATH", libraries, 1);
        execl(program, "nsd", "-d", "-c", path, (char *)NULL);
        _exit(127);
    }
    assert_true(f->pid > 0);
}

static void wait_for_nsd(struct fixture *f)
{
    struct sockaddr_storage sa;
    socklen_t len = net_addr_to_sockaddr(&f->addr, &sa);

    for (unsigned i = 0; i < 500; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        bool up = connect(fd, (struct sockaddr *)&sa, len) == 0;

        close(fd);
        if (up)
            return;
        usleep(20000);
    }
    fail_msg("nsd did not come up");
}

static int setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);

    *state = f;
    start_nsd(f);
    wait_for_nsd(f);
    assert_ok(uvloop_new(0, &clock_system, &f->loop));
    assert_ok(ares_resolver_new(f->loop, NULL, &f->addr, 1, &f->resolver));
    f->guard.fire = guard_fire;
    loop_arm(f->loop, &f->guard, 20 * SECOND_MS);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[128];

    if (f->pid > 0) {
        kill(f->pid, SIGTERM);
        waitpid(f->pid, NULL, 0);
        ares_resolver_free(f->resolver);
        uvloop_free(f->loop);
        snprintf(command, sizeof command, "rm -rf %s", f->dir);
        assert_int_equal(system(command), 0);
    }
    free(f);
    return 0;
}

static void on_answer(void *ctx, const struct dns_answer *a)
{
    struct fixture *f = ctx;

    f->answer = dns_answer_ref(a);
    uvloop_stop(f->loop);
}

static const struct dns_answer *resolve(struct fixture *f, const char *name, enum dns_type type)
{
    f->answer = NULL;
    dns_ask(f->resolver, name, type, on_answer, f);
    uvloop_run(f->loop);
    assert_non_null(f->answer);
    return f->answer;
}

static void test_real_answers(void **state)
{
    static const struct {
        const char *name;
        enum dns_type type;
        enum dns_status status;
        unsigned count;
    } rows[] = {
        { "dest.test", DNS_MX, DNS_OK, 2 },          { "mx1.dest.test", DNS_A, DNS_OK, 2 },
        { "MX1.Dest.Test", DNS_AAAA, DNS_OK, 1 },    { "www.dest.test", DNS_A, DNS_OK, 1 },
        { "null.dest.test", DNS_MX, DNS_OK, 1 },     { "txt.dest.test", DNS_TXT, DNS_OK, 1 },
        { "quiet.dest.test", DNS_MX, DNS_NO_DATA, 0 }, { "www.dest.test", DNS_AAAA, DNS_NO_DATA, 0 },
        { "no.dest.test", DNS_MX, DNS_NO_NAME, 0 },  { "other.test", DNS_MX, DNS_TEMPFAIL, 0 },
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < countof(rows); i++) {
        const struct dns_answer *a = resolve(f, rows[i].name, rows[i].type);

        if (a->status != rows[i].status || a->count != rows[i].count)
            fail_msg("%s: status %d (%s), %u records", rows[i].name, (int)a->status, a->detail,
                     a->count);
        dns_answer_unref(a);
    }
}

static void test_real_times(void **state)
{
    struct fixture *f = *state;
    const struct dns_answer *a;

    a = resolve(f, "mx1.dest.test", DNS_A);
    assert_in_range(a->good_until_ms, f->loop->now_ms + 299000, f->loop->now_ms + 300000);
    dns_answer_unref(a);
    a = resolve(f, "no.dest.test", DNS_A); /* the SOA's minimum */
    assert_in_range(a->good_until_ms, f->loop->now_ms + 29000, f->loop->now_ms + 30000);
    dns_answer_unref(a);
    a = resolve(f, "txt.dest.test", DNS_TXT);
    assert_string_equal(a->text[0], "v=spf1 ip4:192.0.2.0/24 -all");
    dns_answer_unref(a);
    a = resolve(f, "null.dest.test", DNS_MX);
    assert_string_equal(a->mx[0].host, "");
    dns_answer_unref(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_real_answers),
        cmocka_unit_test(test_real_times),
    };

    char program[256];

    if (!find_nsd(program)) {
        puts("1..0 # SKIP nsd is not here");
        return 0;
    }
    return cmocka_run_group_tests(tests, setup, teardown);
}
