/* How much memory the kernel says there is: its texts, its files as a tree of
 * our own shows them, and what follows from the figures. */
#include "tests/unit/check.h"

#include "base/headroom.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOUNTS_1                                                                                   \
    "25 30 0:23 / /proc rw,nosuid - proc proc rw\n"                                                \
    "31 30 0:27 / /sys/fs/cgroup/cpu rw,relatime shared:7 - cgroup cgroup rw,cpu\n"               \
    "32 30 0:28 / /sys/fs/cgroup/memory rw,relatime shared:8 - cgroup cgroup rw,memory\n"          \
    "33 30 0:29 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n"
#define MOUNTS_2                                                                                   \
    "25 30 0:23 / /proc rw,nosuid - proc proc rw\n"                                                \
    "33 30 0:29 / /sys/fs/cgroup rw,relatime shared:9 master:2 - cgroup2 cgroup2 rw\n"

static void test_places(void **state)
{
    static const struct {
        const char *groups, *mounts, *folder; /* NULL: none */
        bool unified;
    } rows[] = {
        { "0::/system.slice/relayd.service\n", MOUNTS_2, "/sys/fs/cgroup/system.slice/relayd.service", true },
        { "0::/\n", MOUNTS_2, "/sys/fs/cgroup", true },
        { "0::/a", MOUNTS_2, "/sys/fs/cgroup/a", true },
        { "4:memory:/box/1\n3:cpu:/\n0::/x\n", MOUNTS_1, "/sys/fs/cgroup/memory/box/1", false },
        { "0::/x\n5:cpu,memory:/y\n", MOUNTS_1, "/sys/fs/cgroup/memory/y", false },
        { "0::/x\n2:cpu:/y\n", MOUNTS_1, "/sys/fs/cgroup/unified/x", true },
        { "1:name=a:memory:/y\n0::/x:y\n", MOUNTS_1, "/sys/fs/cgroup/unified/x:y", true },
        /* a container whose tree begins with its own group, or elsewhere */
        { "0::/docker/abc/in\n", "1 2 0:1 /docker/abc /cg ro - cgroup2 c rw\n", "/cg/in", true },
        { "0::/docker/abc\n", "1 2 0:1 /docker/abc /cg ro - cgroup2 c rw\n", "/cg", true },
        { "0::/docker/abcd\n", "1 2 0:1 /docker/abc /cg ro - cgroup2 c rw\n", "/cg", true },
        { "0::/../other\n", MOUNTS_2, "/sys/fs/cgroup", true },
        { "", MOUNTS_2, NULL, false },
        { "0::/x\n", "", NULL, false },
        { "4:memory:/x\n", MOUNTS_2, NULL, false },
        { "0\n:\n::\n4:memory\n", MOUNTS_1, NULL, false },
        { "0::/x\n", "1 2 3\n - cgroup2 c rw\n\n   \n1 2 0:1 / /cg ro -\n", NULL, false },
    };

    for (size_t i = 0; i < countof(rows); i++) {
        struct headroom_place p;

        assert_int_equal(headroom_parse_place(slice_str(rows[i].groups), slice_str(rows[i].mounts), &p),
                         rows[i].folder != NULL);
        if (rows[i].folder == NULL)
            continue;
        assert_string_equal(p.folder, rows[i].folder);
        assert_int_equal(p.unified, rows[i].unified);
    }
}

static void test_a_place_too_long(void **state)
{
    struct buf groups = { 0 };
    struct headroom_place p;

    buf_add_str(&groups, "0::");
    for (size_t i = 0; i < HEADROOM_PATH_MAX / 2; i++)
        buf_add_str(&groups, "/a");
    assert_false(headroom_parse_place(buf_bytes(&groups), SLICE(MOUNTS_2), &p));
    buf_release(&groups);
}

static void test_limits(void **state)
{
    static const struct {
        const char *text;
        bool there;
        uint64_t bytes;
    } rows[] = {
        { "134217728\n", true, 134217728 }, { "0\n", true, 0 },   { "4096", true, 4096 },
        { "max\n", false, 0 },              { "", false, 0 },     { "9223372036854771712\n", false, 0 },
        { "-1\n", false, 0 },               { "12 34\n", false, 0 }, { "99999999999999999999\n", false, 0 },
    };

    for (size_t i = 0; i < countof(rows); i++) {
        uint64_t bytes = 0;

        assert_int_equal(headroom_parse_limit(slice_str(rows[i].text), &bytes), rows[i].there);
        if (rows[i].there)
            assert_int_equal(bytes, rows[i].bytes);
    }
}

static void test_use(void **state)
{
    struct slice two = SLICE("anon 1000\nfile 900\nkernel 70\nshmem 5\ninactive_anon 600\nactive_file 300\n"
                             "inactive_file 500\nslab_reclaimable 50\nslab 60\npgfault 77\n");
    struct slice one = SLICE("cache 800\nrss 200\ninactive_anon 1\nactive_anon 1\ntotal_rss 200\n"
                             "total_inactive_anon 150\ntotal_active_anon 50\ntotal_unevictable 7\n"
                             "total_inactive_file 800\n");

    assert_int_equal(headroom_parse_used(true, 2000, two), 2000 - 300 - 500 - 50);
    assert_int_equal(headroom_parse_used(true, 100, two), 0); /* counted a moment apart */
    assert_int_equal(headroom_parse_used(false, 2000, one), 207);
    assert_int_equal(headroom_parse_used(true, 2000, SLICE("inactive_file\nactive_file x\n\n 5\n")), 2000);
    assert_int_equal(headroom_parse_used(false, 2000, SLICE_EMPTY), 0);
    assert_int_equal(headroom_parse_machine(SLICE("MemTotal:       24683868 kB\nMemFree: 1 kB\n")), 24683868ull * KIB);
    assert_int_equal(headroom_parse_machine(SLICE("MemFree: 1 kB\nMemTotal:\n")), 0);
    assert_int_equal(headroom_parse_machine(SLICE("MemTotal: 18446744073709551615 kB\n")), 0);
    assert_int_equal(headroom_parse_machine(SLICE_EMPTY), 0);
}

static void test_judgement(void **state)
{
    static const struct {
        uint64_t limit_mib, used_mib;
        enum headroom_level before, now;
    } rows[] = {
        { 128, 0, HEADROOM_PLENTY, HEADROOM_PLENTY }, { 128, 64, HEADROOM_PLENTY, HEADROOM_PLENTY },
        { 128, 65, HEADROOM_PLENTY, HEADROOM_SHORT }, { 128, 64, HEADROOM_SHORT, HEADROOM_SHORT },
        { 128, 60, HEADROOM_SHORT, HEADROOM_PLENTY }, { 128, 96, HEADROOM_SHORT, HEADROOM_SHORT },
        { 128, 97, HEADROOM_SHORT, HEADROOM_NONE },   { 128, 96, HEADROOM_NONE, HEADROOM_NONE },
        { 128, 92, HEADROOM_NONE, HEADROOM_SHORT },   { 128, 200, HEADROOM_PLENTY, HEADROOM_NONE },
        /* a large group uses nearly all it has */
        { 8192, 8000, HEADROOM_PLENTY, HEADROOM_PLENTY }, { 8192, 8129, HEADROOM_PLENTY, HEADROOM_NONE },
        { 0, 1, HEADROOM_PLENTY, HEADROOM_PLENTY },
    };
    struct headroom_gauge g = { 0 };

    for (size_t i = 0; i < countof(rows); i++) {
        struct headroom_use use = { rows[i].limit_mib * MIB, rows[i].used_mib * MIB };

        assert_int_equal(headroom_judge(&use, rows[i].before), rows[i].now);
    }
    assert_int_equal(headroom_level(NULL), HEADROOM_PLENTY);
    assert_int_equal(headroom_level(&g), HEADROOM_PLENTY);
    atomic_store(&g.level, HEADROOM_NONE);
    assert_int_equal(headroom_level(&g), HEADROOM_NONE);
}

/* ---- files --------------------------------------------------------------------- */

static char root[] = "/tmp/headroom-XXXXXX";

static void put(const char *path, const char *text)
{
    char full[512];
    FILE *f;

    snprintf(full, sizeof full, "%s%s", root, path);
    for (char *p = full + strlen(root) + 1; (p = strchr(p, '/')) != NULL; p++) {
        *p = '\0';
        mkdir(full, 0700);
        *p = '/';
    }
    f = fopen(full, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int make_root(void **state)
{
    strcpy(root + strlen(root) - 6, "XXXXXX");
    return mkdtemp(root) != NULL ? 0 : -1;
}

static int remove_root(void **state)
{
    char command[64];

    snprintf(command, sizeof command, "rm -r %s", root);
    return system(command);
}

static void test_the_tightest_group_counts(void **state)
{
    struct headroom *h;
    struct headroom_use use;
    char want[128];

    put("/proc/meminfo", "MemTotal: 4096 kB\n");
    put("/proc/self/cgroup", "0::/slice/pod/mail\n");
    put("/proc/self/mountinfo", "33 30 0:29 / /cg rw - cgroup2 cgroup2 rw\n");
    put("/cg/slice/pod/mail/memory.max", "max\n");
    put("/cg/slice/pod/memory.max", "1000000\n");
    put("/cg/slice/pod/memory.current", "900000\n");
    put("/cg/slice/pod/memory.stat", "inactive_file 100000\nactive_file 1\nslab_reclaimable 1\n");
    put("/cg/slice/memory.max", "2000000\n");
    h = headroom_open(root);
    assert_int_equal(headroom_total(h), 1000000);
    snprintf(want, sizeof want, "/cg/slice/pod");
    assert_string_equal(headroom_group(h), want);
    assert_true(headroom_look(h, &use));
    assert_int_equal(use.limit_bytes, 1000000);
    assert_int_equal(use.used_bytes, 799998);
    put("/cg/slice/pod/memory.current", "200000\n"); /* the same open files tell what is now */
    put("/cg/slice/pod/memory.max", "500000\n");
    assert_true(headroom_look(h, &use));
    assert_int_equal(use.limit_bytes, 500000);
    assert_int_equal(use.used_bytes, 99998);
    put("/cg/slice/pod/memory.max", "max\n");
    assert_false(headroom_look(h, &use));
    headroom_close(h);
}

static void test_version_1(void **state)
{
    struct headroom *h;
    struct headroom_use use;

    put("/proc/meminfo", "MemTotal: 4096 kB\n");
    put("/proc/self/cgroup", "4:memory:/mail\n0::/\n");
    put("/proc/self/mountinfo", "32 30 0:28 / /cg/memory rw - cgroup cgroup rw,memory\n");
    put("/cg/memory/memory.limit_in_bytes", "9223372036854771712\n");
    put("/cg/memory/mail/memory.limit_in_bytes", "3000000\n");
    put("/cg/memory/mail/memory.usage_in_bytes", "2999999\n");
    put("/cg/memory/mail/memory.stat", "total_inactive_anon 10\ntotal_active_anon 5\ntotal_cache 2999000\n");
    h = headroom_open(root);
    assert_int_equal(headroom_total(h), 3000000);
    assert_true(headroom_look(h, &use));
    assert_int_equal(use.used_bytes, 15);
    headroom_close(h);
}

static void test_without_limits(void **state)
{
    struct headroom *h = headroom_open(root); /* nothing can be read */
    struct headroom_use use;

    assert_int_equal(headroom_total(h), 0);
    assert_null(headroom_group(h));
    assert_false(headroom_look(h, &use));
    headroom_close(h);
    put("/proc/meminfo", "MemTotal: 4096 kB\n");
    put("/proc/self/cgroup", "0::/mail\n");
    put("/proc/self/mountinfo", "33 30 0:29 / /cg rw - cgroup2 cgroup2 rw\n");
    put("/cg/mail/memory.max", "max\n");
    h = headroom_open(root);
    assert_int_equal(headroom_total(h), 4096 * KIB);
    assert_null(headroom_group(h));
    headroom_close(h);
    put("/cg/mail/memory.max", "1000000\n"); /* and no count to read */
    h = headroom_open(root);
    assert_int_equal(headroom_total(h), 1000000);
    assert_null(headroom_group(h));
    assert_false(headroom_look(h, &use));
    headroom_close(h);
    put("/cg/mail/memory.max", "1000000000\n"); /* more than the machine has */
    put("/cg/mail/memory.current", "1\n");
    put("/cg/mail/memory.stat", "anon 1\n");
    h = headroom_open(root);
    assert_int_equal(headroom_total(h), 4096 * KIB);
    assert_null(headroom_group(h));
    assert_false(headroom_look(h, &use));
    headroom_close(h);
    headroom_close(NULL);
}

static void test_this_machine(void **state)
{
    struct headroom *h = headroom_open("");

    assert_true(headroom_total(h) > MIB);
    headroom_close(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_a_place_too_long),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_use),
        cmocka_unit_test(test_judgement),
        cmocka_unit_test_setup_teardown(test_the_tightest_group_counts, make_root, remove_root),
        cmocka_unit_test_setup_teardown(test_version_1, make_root, remove_root),
        cmocka_unit_test_setup_teardown(test_without_limits, make_root, remove_root),
        cmocka_unit_test(test_this_machine),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
