/* Passwords, names, the users' store, and the hashing pool's turns. */
#include "tests/unit/check.h"

#include "auth/hash_pool.h"
#include "auth/passwd_file.h"
#include "auth/users.h"
#include "net/uvloop.h"

#include <ftw.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- passwords ----------------------------------------------------------------------------- */

static void test_hash_and_verify(void **state)
{
    char hash[PASSWORD_HASH_MAX], again[PASSWORD_HASH_MAX];

    assert_ok(password_hash(SLICE("correct horse"), hash));
    assert_ok(password_hash(SLICE("correct horse"), again));
    assert_int_equal(strncmp(hash, "$y$", 3), 0);
    assert_string_not_equal(hash, again);
    assert_true(password_verify(SLICE("correct horse"), hash));
    assert_false(password_verify(SLICE("correct horsE"), hash));
    assert_false(password_verify(SLICE("correct"), hash));
    assert_false(password_verify(SLICE(""), hash));
    assert_false(password_verify(SLICE("correct horse\0x"), hash));
    assert_false(password_verify(SLICE("correct horse"), ""));
    assert_false(password_verify(SLICE("correct horse"), "*0"));
    assert_false(password_verify(SLICE("correct horse"), "$nonsense$"));
}

/* As other programs made them, of "password" and a salt. */
static void test_foreign_hashes(void **state)
{
    static const char *const hashes[] = {
        "$1$saltsalt$qjXMvbEw8oaL.CzflDtaK/",
        "$5$saltsalt$gOjOtoMpVhru2uyjeJSEc/JaLQWOXMNmlOnj6T4AtC.",
        "$6$saltsalt$qFmFH.bQmmtXzyBY0s9v7Oicd2z4XSIecDzlB5KiA2/jctKu9YterLp8wwnSq.qc.eoxqOmSuNp2xS0ktL3nh/",
    };

    for (size_t i = 0; i < countof(hashes); i++)
        assert_true(password_verify(SLICE("password"), hashes[i]));
    for (size_t i = 0; i < countof(hashes); i++)
        assert_false(password_verify(SLICE("passwort"), hashes[i]));
}

/* One password, typed on two systems: composed, and decomposed. */
static void test_same_letters(void **state)
{
    char hash[PASSWORD_HASH_MAX];
    struct scram_keys keys;

    assert_ok(password_hash(SLICE("caf\xc3\xa9"), hash));
    assert_true(password_verify(SLICE("cafe\xcc\x81"), hash));
    assert_ok(password_hash(SLICE("\xff\xfe raw"), hash)); /* no UTF-8: as it is */
    assert_true(password_verify(SLICE("\xff\xfe raw"), hash));
    assert_ok(password_scram(SLICE("secret"), &keys));
    assert_int_equal(keys.iterations, PASSWORD_ITERATIONS);
}

static void test_acceptable(void **state)
{
    static char longest[PASSWORD_MAX + 1];
    const char *why;

    memset(longest, 'x', sizeof longest);
    assert_true(password_acceptable(SLICE("x"), &why));
    assert_true(password_acceptable(slice_make(longest, PASSWORD_MAX), &why));
    assert_false(password_acceptable(slice_make(longest, sizeof longest), &why));
    assert_false(password_acceptable(SLICE(""), &why));
    assert_false(password_acceptable(SLICE("a\0b"), &why));
    assert_false(password_acceptable(SLICE("a\r\n"), &why));
}

static void test_app_passwords(void **state)
{
    char a[PASSWORD_APP_TEXT + 1], b[PASSWORD_APP_TEXT + 1], normal[PASSWORD_APP_CHARS];

    password_app_new(a);
    password_app_new(b);
    assert_int_equal(strlen(a), PASSWORD_APP_TEXT);
    assert_string_not_equal(a, b);
    assert_true(password_app_normal(slice_str(a), normal));
    assert_true(password_app_normal(SLICE("ABCD EFGH-jkmn pqrs tuvw"), normal));
    assert_false(password_app_normal(SLICE("abcd-efgh-jkmn-pqrs-tuv"), normal));
    assert_false(password_app_normal(SLICE("abcd-efgh-jkmn-pqrs-tuvwx"), normal));
    assert_false(password_app_normal(SLICE("abcd-efgh-jkmn-pqrs-tu0l"), normal)); /* look-alikes are not in it */
    assert_false(password_app_normal(SLICE(""), normal));
}

/* ---- names ------------------------------------------------------------------------------------ */

static void test_names(void **state)
{
    static const struct {
        const char *name, *key, *address;
    } rows[] = {
        { "joe@example.com", "joe@example.com", "joe@example.com" },
        { "Joe@EXAMPLE.com", "joe@example.com", "Joe@example.com" },
        { "joe", "joe@home.test", "joe@home.test" },
        { "joe@b\xc3\xbc" "cher.example", "joe@xn--bcher-kva.example", "joe@xn--bcher-kva.example" },
        { "", NULL, NULL },
        { "joe@", NULL, NULL },
        { "@example.com", NULL, NULL },
        { "joe@[192.0.2.1]", NULL, NULL },
        { "joe@exa mple.com", NULL, NULL },
        { "joe <joe@example.com>", NULL, NULL },
    };
    char out[USER_ADDRESS_MAX + 1];

    for (size_t i = 0; i < countof(rows); i++) {
        bool good = user_key(slice_str(rows[i].name), "home.test", out);

        assert_int_equal(good, rows[i].key != NULL);
        if (!good)
            continue;
        assert_string_equal(out, rows[i].key);
        assert_true(user_address(slice_str(rows[i].name), "home.test", out));
        assert_string_equal(out, rows[i].address);
    }
    assert_false(user_key(SLICE("joe"), NULL, out));
}

/* ---- the file of another server -------------------------------------------------------------------- */

static void count_problem(void *ctx, unsigned line, const char *why)
{
    ++*(unsigned *)ctx;
}

static void test_passwd_lines(void **state)
{
    static const char text[] = "# comment\n\njoe@example.com:{PLAIN}pa:ss\nANN:{SHA512-CRYPT}$6$salt$0123456789abcdef:1:2\r\n"
                               "locked:!$6$abc$0123456789\nempty:\nodd:{MD4}0123456789abcdef\nnocolon\n"
                               "joe@example.com:{PLAIN}second\nbad name:{PLAIN}x\nshort:abc";
    unsigned problems = 0;
    struct passwd_table *t = passwd_parse(slice_str(text), "home.test", count_problem, &problems);

    assert_int_equal(passwd_count(t), 6);
    assert_int_equal(problems, 7);
    assert_string_equal(passwd_find(t, "joe@example.com"), "{PLAIN}pa"); /* a colon ends it */
    assert_string_equal(passwd_find(t, "ann@home.test"), "$6$salt$0123456789abcdef");
    assert_string_equal(passwd_find(t, "locked@home.test"), PASSWD_LOCKED);
    assert_string_equal(passwd_find(t, "empty@home.test"), PASSWD_LOCKED);
    assert_string_equal(passwd_find(t, "odd@home.test"), PASSWD_LOCKED);
    assert_string_equal(passwd_find(t, "short@home.test"), PASSWD_LOCKED);
    assert_null(passwd_find(t, "other@home.test"));
    assert_false(passwd_verify(SLICE("!"), PASSWD_LOCKED));
    assert_true(passwd_verify(SLICE("pa"), passwd_find(t, "joe@example.com")));
    assert_false(passwd_verify(SLICE("{PLAIN}pa"), passwd_find(t, "joe@example.com")));
    passwd_table_free(t);
}

/* ---- the store ---------------------------------------------------------------------------------------- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    return remove(path);
}

static struct user sample(const char *address)
{
    static char *senders[] = { (char *)"example.org", (char *)".example.net" };

    return (struct user){ .address = (char *)address, .hash = (char *)"$y$x", .sender_own = true, .senders = senders,
                          .sender_count = 2, .services = USER_SMTP, .messages_per_hour = 9,
                          .scram = { .iterations = 4096, .salt = { 1 }, .stored_key = { 2 }, .server_key = { 3 } } };
}

static void test_record(void **state)
{
    struct user u = sample("joe@example.com"), back;
    struct buf b = { 0 };

    user_put(&b, &u);
    assert_ok(user_get(buf_bytes(&b), &back));
    assert_string_equal(back.address, u.address);
    assert_string_equal(back.senders[1], ".example.net");
    assert_int_equal(back.scram.server_key[0], 3);
    assert_int_equal(back.messages_per_hour, 9);
    user_release(&back);
    for (size_t len = 0; len < buf_len(&b); len++)
        assert_true(err_failed(user_get(slice_head(buf_bytes(&b), len), &back)));
    for (size_t i = 0; i < buf_len(&b); i++) {
        b.ptr[i] ^= 0x20;
        assert_true(err_failed(user_get(buf_bytes(&b), &back)));
        b.ptr[i] ^= 0x20;
    }
    buf_release(&b);
}

static struct err turn_off(void *ctx, struct user *u)
{
    u->disabled = true;
    return ERR_OK;
}

static void test_store(void **state)
{
    char dir[] = "/tmp/relayd-users-XXXXXX";
    struct user u = sample("Joe@example.com"), back;
    struct users *users, *second;
    uint64_t generation;
    uint8_t secret[32];

    assert_non_null(mkdtemp(dir));
    assert_ok(users_open(dir, &clock_system, 0, &users));
    assert_err(users_open(dir, &clock_system, 0, &second), ERR_BUSY);
    generation = users_generation(users);
    assert_ok(users_add(users, &u));
    assert_true(users_generation(users) > generation);
    assert_err(users_add(users, &u), ERR_EXISTS);
    assert_err(users_get(users, "ann@example.com", &back), ERR_NOT_FOUND);
    assert_ok(users_change(users, "joe@example.com", turn_off, NULL));
    assert_err(users_change(users, "ann@example.com", turn_off, NULL), ERR_NOT_FOUND);
    users_note_used(users, "joe@example.com", NULL);
    memcpy(secret, users_secret(users).ptr, sizeof secret);
    generation = users_generation(users);
    users_close(users);
    assert_ok(users_open(dir, &clock_system, 0, &users));
    assert_true(users_generation(users) >= generation);
    assert_memory_equal(secret, users_secret(users).ptr, sizeof secret);
    assert_ok(users_get(users, "joe@example.com", &back));
    assert_true(back.disabled);
    assert_string_equal(back.address, "Joe@example.com");
    user_release(&back);
    assert_true(users_last_used(users, "joe@example.com", NULL) > 0);
    assert_ok(users_delete(users, "joe@example.com"));
    assert_int_equal(users_last_used(users, "joe@example.com", NULL), 0);
    assert_err(users_get(users, "joe@example.com", &back), ERR_NOT_FOUND);
    users_close(users);
    nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* What users_add() has said is done is there after a kill, each time. */
static void test_survives_kill(void **state)
{
    char dir[] = "/tmp/relayd-users-XXXXXX";
    unsigned told_last = 0;

    assert_non_null(mkdtemp(dir));
    for (unsigned round = 0; round < 5; round++) {
        int pipe_ends[2];
        struct users *users;
        struct user back;
        unsigned told = told_last;
        pid_t pid;

        assert_int_equal(pipe(pipe_ends), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            if (err_failed(users_open(dir, &clock_system, 1000, &users)))
                _exit(1);
            for (unsigned n = told_last + 1;; n++) {
                char address[32];
                struct user u;

                snprintf(address, sizeof address, "u%u@example.com", n);
                u = sample(address);
                if (err_failed(users_add(users, &u)) && n > told_last + 1)
                    _exit(1);
                if (write(pipe_ends[1], &n, sizeof n) != sizeof n)
                    _exit(1);
            }
        }
        close(pipe_ends[1]);
        while (told < told_last + 20 && read(pipe_ends[0], &told, sizeof told) == sizeof told)
            ;
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        while (read(pipe_ends[0], &told, sizeof told) == sizeof told)
            ;
        close(pipe_ends[0]);
        assert_true(told >= told_last + 20);
        assert_ok(users_open(dir, &clock_system, 1000, &users));
        for (unsigned n = 1; n <= told; n++) {
            char key[32];

            snprintf(key, sizeof key, "u%u@example.com", n);
            assert_ok(users_get(users, key, &back));
            user_release(&back);
        }
        users_close(users);
        told_last = told;
    }
    nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* ---- whose turn it is ------------------------------------------------------------------------------------ */

struct turn {
    struct hash_job job;
    unsigned number;
};

static atomic_bool gate;
static unsigned order[2000], order_count, dropped_count, expected;
static struct loop *pool_loop;

static void wait_at_gate(struct hash_job *j)
{
    while (!atomic_load(&gate))
        usleep(1000);
}

static void do_nothing(struct hash_job *j)
{
}

static void note_turn(struct hash_job *j, bool dropped)
{
    struct turn *t = container_of(j, struct turn, job);

    if (dropped)
        dropped_count++;
    else
        order[order_count++] = t->number;
    if (order_count + dropped_count == expected)
        uvloop_stop(pool_loop);
}

static void submit(struct hash_pool *p, struct turn *t, unsigned number, const char *addr, enum hash_class class)
{
    t->number = number;
    t->job.class = class;
    t->job.run = number == 0 ? wait_at_gate : do_nothing;
    t->job.done = note_turn;
    assert_true(net_addr_parse(slice_str(addr), &t->job.client));
    hash_pool_submit(p, &t->job);
}

static void test_turns(void **state)
{
    static struct turn turns[200];
    struct hash_pool *p;
    unsigned n = 0, guesser = 0;

    assert_ok(uvloop_new(0, &clock_system, &pool_loop));
    assert_ok(hash_pool_new(pool_loop, 1, &p));
    order_count = dropped_count = 0;
    submit(p, &turns[n], 0, "192.0.2.99", HASH_ADMIN); /* holds the one thread */
    n++;
    while (hash_pool_waiting(p) != 0)
        usleep(1000);
    for (unsigned i = 0; i < 100; i++, n++) /* a hundred guesses of one client */
        submit(p, &turns[n], 1000 + i, "203.0.113.1", HASH_STRANGER);
    for (unsigned i = 0; i < 10; i++, n++) /* and of one whose guesses were wrong */
        submit(p, &turns[n], 2000 + i, "203.0.113.2", HASH_SUSPECT);
    submit(p, &turns[n], 1, "198.51.100.1", HASH_STRANGER);
    n++;
    submit(p, &turns[n], 2, "198.51.100.2", HASH_KNOWN);
    n++;
    submit(p, &turns[n], 3, "198.51.100.3", HASH_ADMIN);
    n++;
    expected = n;
    atomic_store(&gate, true);
    uvloop_run(pool_loop);
    assert_int_equal(dropped_count, 100 - HASH_POOL_PER_CLIENT);
    assert_int_equal(order[0], 0);
    assert_int_equal(order[1], 3);
    assert_int_equal(order[2], 2);
    for (unsigned i = 3; i < order_count && order[i] != 1; i++)
        guesser++;
    assert_true(guesser <= 1);
    for (unsigned i = 0, suspects = 0; i < order_count; i++) { /* one in five, while others wait */
        suspects += order[i] >= 2000;
        if (i < 3 + HASH_POOL_PER_CLIENT)
            assert_true(suspects <= i / 4 + 1);
    }
    hash_pool_free(p, NULL);
    uvloop_free(pool_loop);
}

static void test_pool_is_bounded(void **state)
{
    static struct turn turns[HASH_POOL_PER_THREAD + 200];
    struct hash_pool *p;
    unsigned n = 0;

    assert_ok(uvloop_new(0, &clock_system, &pool_loop));
    assert_ok(hash_pool_new(pool_loop, 1, &p));
    atomic_store(&gate, false);
    order_count = dropped_count = 0;
    submit(p, &turns[n++], 0, "192.0.2.99", HASH_ADMIN);
    while (hash_pool_waiting(p) != 0)
        usleep(1000);
    for (; n < HASH_POOL_PER_THREAD + 100; n++) { /* ten from each of many clients */
        char addr[32];

        snprintf(addr, sizeof addr, "203.0.113.%u", n / 10);
        submit(p, &turns[n], n, addr, HASH_STRANGER);
    }
    assert_int_equal(hash_pool_waiting(p), HASH_POOL_PER_THREAD);
    expected = n;
    atomic_store(&gate, true);
    uvloop_run(pool_loop);
    assert_int_equal(order_count, HASH_POOL_PER_THREAD + 1);
    hash_pool_free(p, NULL);
    uvloop_free(pool_loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hash_and_verify),
        cmocka_unit_test(test_foreign_hashes),
        cmocka_unit_test(test_same_letters),
        cmocka_unit_test(test_acceptable),
        cmocka_unit_test(test_app_passwords),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_passwd_lines),
        cmocka_unit_test(test_record),
        cmocka_unit_test(test_store),
        cmocka_unit_test(test_survives_kill),
        cmocka_unit_test(test_turns),
        cmocka_unit_test(test_pool_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
