/* The accounts process and the engine's side of it: logins, charges, deaths. */
#include "tests/unit/accounts_fixture.h"
#include "tests/unit/failing_calls.h"

#include "auth/users.h"
#include "store/store.h"

#define FAILING err_sys(fault.error, "read")

WRAP(struct err, store_snapshot, (struct store *s, struct store_txn **out), (s, out), FAILING)
WRAP(struct err, store_get, (struct store_txn *t, unsigned table, struct slice key, struct slice *out),
     (t, table, key, out), FAILING)

static void test_plain(void **state)
{
    struct fixture *f = *state;

    add_user(f, "Joe@Example.COM", "tops secret");
    assert_int_equal(plain(f, "joe@example.com", "tops secret"), ACCOUNTS_OK);
    assert_string_equal(buf_cstr(&f->user), "Joe@example.com");
    assert_string_equal(buf_cstr(&f->senders), "Joe@example.com ");
    assert_false(f->sender_any);
    assert_int_equal(plain(f, "JOE", "tops secret"), ACCOUNTS_OK); /* the domain is completed */
    assert_int_equal(plain(f, "joe@example.com", "tops secre"), ACCOUNTS_DENIED);
    assert_int_equal(plain(f, "joe@example.org", "tops secret"), ACCOUNTS_DENIED);
    assert_int_equal(plain(f, "no address at all", "tops secret"), ACCOUNTS_DENIED);
}

static void test_login_and_mechanisms(void **state)
{
    struct fixture *f = *state;
    struct accounts_client c = client_of("login", "192.0.2.1");
    struct accounts_login *l;

    add_user(f, "joe@example.com", "secret");
    l = accounts_login_new(f->accounts, f->loop, &c, take_answer, f);
    assert_int_equal(step(f, l, SLICE_EMPTY), ACCOUNTS_CHALLENGE);
    assert_string_equal(buf_cstr(&f->challenge), "Username:");
    assert_int_equal(step(f, l, SLICE("joe")), ACCOUNTS_CHALLENGE);
    assert_int_equal(step(f, l, SLICE("secret")), ACCOUNTS_OK);
    accounts_login_free(l);
    c = client_of("CRAM-MD5", "192.0.2.1");
    l = accounts_login_new(f->accounts, f->loop, &c, take_answer, f);
    assert_int_equal(step(f, l, SLICE_EMPTY), ACCOUNTS_BAD);
    accounts_login_free(l);
    c = client_of("PLAIN", "192.0.2.1");
    c.tls = false;
    l = accounts_login_new(f->accounts, f->loop, &c, take_answer, f);
    assert_int_equal(step(f, l, SLICE("\0joe\0secret")), ACCOUNTS_BAD); /* never in the clear */
    accounts_login_free(l);
    c.clear_ok = true;
    l = accounts_login_new(f->accounts, f->loop, &c, take_answer, f);
    assert_int_equal(step(f, l, SLICE("\0joe\0secret")), ACCOUNTS_OK);
    accounts_login_free(l);
}

static void test_what_is_offered(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(accounts_mechanisms(f->accounts, false, false, false, false), "SCRAM-SHA-256");
    assert_string_equal(accounts_mechanisms(f->accounts, true, false, true, false),
                        "SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN");
    assert_string_equal(accounts_mechanisms(f->accounts, false, true, false, false), "SCRAM-SHA-256 PLAIN LOGIN");
    assert_string_equal(accounts_mechanisms(f->accounts, true, false, false, true),
                        "EXTERNAL SCRAM-SHA-256 PLAIN LOGIN");
    accounts_set_scram(f->accounts, false);
    assert_string_equal(accounts_mechanisms(f->accounts, false, false, false, false), "");
    assert_string_equal(accounts_mechanisms(f->accounts, true, false, true, false), "PLAIN LOGIN");
}

static void test_authzid_and_external(void **state)
{
    struct fixture *f = *state;
    struct accounts_client c = client_of("PLAIN", "192.0.2.1");
    struct accounts_login *l;

    add_user(f, "joe@example.com", "secret");
    add_user(f, "ann@example.com", "secret");
    l = accounts_login_new(f->accounts, f->loop, &c, take_answer, f);
    assert_int_equal(step(f, l, SLICE("joe@example.com\0joe@example.com\0secret")), ACCOUNTS_OK);
    accounts_login_free(l);
    l = accounts_login_new(f->accounts, f->loop, &c, take_answer, f);
    assert_int_equal(step(f, l, SLICE("ann@example.com\0joe@example.com\0secret")), ACCOUNTS_DENIED);
    accounts_login_free(l);
    c = client_of("EXTERNAL", "192.0.2.1");
    c.external = "joe@example.com";
    l = accounts_login_new(f->accounts, f->loop, &c, take_answer, f);
    assert_int_equal(step(f, l, SLICE("")), ACCOUNTS_OK);
    assert_string_equal(buf_cstr(&f->user), "joe@example.com");
    accounts_login_free(l);
    l = accounts_login_new(f->accounts, f->loop, &c, take_answer, f);
    assert_int_equal(step(f, l, SLICE("ann@example.com")), ACCOUNTS_DENIED);
    accounts_login_free(l);
    c.external = "nobody@example.com";
    l = accounts_login_new(f->accounts, f->loop, &c, take_answer, f);
    assert_int_equal(step(f, l, SLICE("")), ACCOUNTS_DENIED);
    accounts_login_free(l);
    c.external = NULL;
    l = accounts_login_new(f->accounts, f->loop, &c, take_answer, f);
    assert_int_equal(step(f, l, SLICE("joe@example.com")), ACCOUNTS_BAD);
    accounts_login_free(l);
}

static uint64_t failure_takes(struct fixture *f, const char *name, unsigned client)
{
    uint64_t began = clock_mono_ms(&clock_system);
    char addr[32];

    snprintf(addr, sizeof addr, "192.0.2.%u", client);
    assert_int_equal(plain_from(f, addr, name, "wrong"), ACCOUNTS_DENIED);
    return f->answered_ms - began;
}

/* Whether a user exists shows neither in time nor in words: all failures come
 * at the same time after their beginning, and the hash is done. */
static void test_unknown_takes_as_long(void **state)
{
    struct fixture *f = *state;
    uint64_t apart = UINT64_MAX;

    add_user(f, "joe@example.com", "secret");
    for (unsigned i = 0; i < 10 && apart >= 100; i += 2) { /* again: a busy machine may delay one of the two */
        uint64_t known = failure_takes(f, "joe", i + 1), unknown = failure_takes(f, "nobody", i + 2);

        assert_true(known >= 150 && unknown >= 150);
        apart = known > unknown ? known - unknown : unknown - known;
    }
    assert_true(apart < 100);
}

static struct slice salt_part(struct fixture *f)
{
    struct slice s = buf_bytes(&f->challenge);
    size_t at = slice_find(s, ',');

    return slice_from(s, at);
}

static void test_scram_does_not_tell(void **state)
{
    struct accounts_client c = client_of("SCRAM-SHA-256", "192.0.2.1");
    struct fixture *f = *state;
    struct buf first = { 0 };

    for (int i = 0; i < 2; i++) { /* across a restart, too */
        struct accounts_login *l = accounts_login_new(f->accounts, f->loop, &c, take_answer, f);

        assert_int_equal(step(f, l, SLICE("n,,n=nobody,r=abcdefgh")), ACCOUNTS_CHALLENGE);
        if (i == 0)
            buf_add(&first, salt_part(f));
        else
            assert_true(slice_eq(buf_bytes(&first), salt_part(f)));
        assert_non_null(strstr(buf_cstr(&f->challenge), ",i=16384"));
        assert_int_equal(step(f, l, SLICE("c=biws,r=abc,p=AAAA")), ACCOUNTS_DENIED);
        accounts_login_free(l);
        stop_server(f);
        start_server(f);
        connect_server(f);
    }
    buf_release(&first);
}

static void add_app_password(struct fixture *f, char password[64])
{
    struct buf answer = { 0 };
    struct admin_answer out;
    struct admin_fields row;
    struct slice text;

    assert_int_equal(admin(f, &answer, "app-add", "user", "joe", "name", "phone", NULL), ADMIN_OK);
    assert_ok(admin_answer_get(buf_bytes(&answer), &out));
    assert_true(admin_row_next(&out.rows, &row));
    text = admin_text(&row, "password");
    snprintf(password, 64, "%.*s", (int)text.len, text.ptr);
    buf_release(&answer);
}

/* A good password is not wrong because nobody can look it up. */
static void test_36_users_that_cannot_be_read(void **state)
{
    struct accounts_client c = client_of("EXTERNAL", "192.0.2.1");
    struct fixture *f = *state;
    struct accounts_login *l;
    char password[64];

    add_user(f, "joe@example.com", "secret");
    add_app_password(f, password);
    for (unsigned skip = 0; skip < 2; skip++) { /* before the hash, and after it */
        fault_arm(skip, true, ENOMEM);
        fault.only = "store_snapshot";
        assert_int_equal(plain(f, "joe", "secret"), ACCOUNTS_TEMPFAIL);
        fault_arm(skip, true, ENOMEM);
        fault.only = "store_snapshot";
        assert_int_equal(plain(f, "joe", password), ACCOUNTS_TEMPFAIL);
    }
    fault_arm(0, true, EIO);
    fault.only = "store_get";
    assert_int_equal(plain(f, "joe", "secret"), ACCOUNTS_TEMPFAIL);
    assert_int_equal(plain(f, "nobody", "secret"), ACCOUNTS_TEMPFAIL);
    assert_false(charge(f, "joe@example.com", 1));
    assert_non_null(strstr(buf_cstr(&f->why), "4.3.0"));
    c.external = "joe@example.com";
    l = accounts_login_new(f->accounts, f->loop, &c, take_answer, f);
    assert_int_equal(step(f, l, SLICE("")), ACCOUNTS_TEMPFAIL);
    accounts_login_free(l);
    c = client_of("SCRAM-SHA-256", "192.0.2.1");
    l = accounts_login_new(f->accounts, f->loop, &c, take_answer, f);
    assert_int_equal(step(f, l, SLICE("n,,n=joe,r=abcdefgh")), ACCOUNTS_CHALLENGE);
    assert_int_equal(step(f, l, SLICE("c=biws,r=abc,p=AAAA")), ACCOUNTS_TEMPFAIL);
    accounts_login_free(l);
    fault.armed = false;
    assert_int_equal(plain(f, "joe", "secret"), ACCOUNTS_OK);
    assert_true(charge(f, "joe@example.com", 1));
}

/* ---- changes ------------------------------------------------------------------------------- */

static void test_changes_count_at_once(void **state)
{
    struct fixture *f = *state;
    struct buf answer = { 0 };
    uint64_t generation;

    add_user(f, "joe@example.com", "one");
    assert_int_equal(plain(f, "joe", "one"), ACCOUNTS_OK);
    generation = accounts_generation(f->accounts);
    assert_int_equal(admin(f, &answer, "user-change", "user", "joe", "password", "two", NULL), ADMIN_OK);
    turn_until(f, accounts_generation(f->accounts) > generation);
    assert_int_equal(plain(f, "joe", "one"), ACCOUNTS_DENIED); /* though it was remembered */
    assert_int_equal(plain(f, "joe", "two"), ACCOUNTS_OK);
    assert_int_equal(admin(f, &answer, "user-change", "user", "joe", "senders", "own, example.org, any", "services",
                           "smtp", "messages_per_hour", "5", NULL),
                     ADMIN_OK);
    assert_int_equal(plain(f, "joe", "two"), ACCOUNTS_OK);
    assert_string_equal(buf_cstr(&f->senders), "joe@example.com example.org ");
    assert_true(f->sender_any);
    assert_int_equal(f->messages, 5);
    assert_int_equal(admin(f, &answer, "user-change", "user", "joe", "services", "imap", NULL), ADMIN_OK);
    assert_int_equal(plain(f, "joe", "two"), ACCOUNTS_DENIED);
    assert_int_equal(admin(f, &answer, "user-change", "user", "joe", "services", "all", "disabled", "yes", NULL),
                     ADMIN_OK);
    assert_int_equal(plain(f, "joe", "two"), ACCOUNTS_DENIED);
    assert_false(charge(f, "joe@example.com", 1));
    assert_int_equal(admin(f, &answer, "user-delete", "user", "joe", NULL), ADMIN_OK);
    assert_int_equal(admin(f, &answer, "user-delete", "user", "joe", NULL), ADMIN_NOT_FOUND);
    assert_int_equal(plain(f, "joe", "two"), ACCOUNTS_DENIED);
    buf_release(&answer);
}

static void test_app_passwords(void **state)
{
    struct fixture *f = *state;
    struct buf answer = { 0 };
    char password[64];

    add_user(f, "joe@example.com", "secret");
    add_app_password(f, password);
    assert_int_equal(strlen(password), PASSWORD_APP_TEXT);
    assert_int_equal(plain(f, "joe", password), ACCOUNTS_OK);
    assert_int_equal(plain(f, "joe", "secret"), ACCOUNTS_OK);
    password[0] = password[0] == 'a' ? 'b' : 'a';
    assert_int_equal(plain(f, "joe", password), ACCOUNTS_DENIED);
    password[0] = 'A';
    assert_int_equal(admin(f, &answer, "app-add", "user", "joe", "name", "phone", NULL), ADMIN_EXISTS);
    assert_int_equal(admin(f, &answer, "app-add", "user", "ann", "name", "phone", NULL), ADMIN_NOT_FOUND);
    assert_int_equal(admin(f, &answer, "app-delete", "user", "joe", "name", "phone", NULL), ADMIN_OK);
    assert_int_equal(admin(f, &answer, "app-delete", "user", "joe", "name", "phone", NULL), ADMIN_NOT_FOUND);
    buf_release(&answer);
}

static void test_bad_requests(void **state)
{
    static const char *const rows[][4] = {
        { "user-add", "user", "no address", NULL },
        { "user-add", "user", "", NULL },
        { "user-add", "user", "joe@[192.0.2.1]", NULL },
        { "user-change", "user", "joe@", NULL },
        { "nonsense", "user", "joe@example.com", NULL },
    };
    struct fixture *f = *state;
    struct buf answer = { 0 };

    for (size_t i = 0; i < countof(rows); i++)
        assert_int_equal(admin(f, &answer, rows[i][0], rows[i][1], rows[i][2], NULL), ADMIN_BAD);
    assert_int_equal(admin(f, &answer, "user-add", "user", "joe", "password", "", NULL), ADMIN_BAD);
    assert_int_equal(admin(f, &answer, "user-add", "user", "joe", "password", "a\nb", NULL), ADMIN_BAD);
    assert_int_equal(admin(f, &answer, "user-add", "user", "joe", "senders", "*@example.com", NULL), ADMIN_BAD);
    assert_int_equal(admin(f, &answer, "user-add", "user", "joe", "senders", "", NULL), ADMIN_BAD);
    assert_int_equal(admin(f, &answer, "user-add", "user", "joe", "services", "ftp", NULL), ADMIN_BAD);
    assert_int_equal(admin(f, &answer, "user-add", "user", "joe", "messages_per_hour", "0", NULL), ADMIN_BAD);
    assert_int_equal(admin(f, &answer, "user-add", "user", "joe", "disabled", "maybe", NULL), ADMIN_BAD);
    assert_int_equal(admin(f, &answer, "user-show", "user", "joe", NULL), ADMIN_NOT_FOUND);
    buf_release(&answer);
}

static void test_list_by_pages(void **state)
{
    struct fixture *f = *state;
    struct buf answer = { 0 };
    struct admin_answer out;
    struct admin_fields row;
    char after[USER_ADDRESS_MAX + 1] = "", name[32];
    unsigned seen = 0, pages = 0;

    for (int i = 0; i < 7; i++) {
        snprintf(name, sizeof name, "u%d", i);
        assert_int_equal(admin(f, &answer, "user-add", "user", name, NULL), ADMIN_OK);
    }
    do {
        assert_int_equal(admin(f, &answer, "user-list", "limit", "3", "after", after, NULL), ADMIN_OK);
        assert_ok(admin_answer_get(buf_bytes(&answer), &out));
        after[0] = '\0';
        pages++;
        while (admin_row_next(&out.rows, &row)) {
            struct slice next = admin_text(&row, "next");

            snprintf(after, sizeof after, "%.*s", (int)next.len, next.len != 0 ? next.ptr : "");
            seen += admin_has(&row, "user");
        }
    } while (after[0] != '\0');
    assert_int_equal(seen, 7);
    assert_int_equal(pages, 3);
    buf_release(&answer);
}

/* ---- deaths --------------------------------------------------------------------------------- */

static void test_waits_for_the_next(void **state)
{
    struct fixture *f = *state;
    struct accounts_client c = client_of("PLAIN", "192.0.2.1"), lc = client_of("LOGIN", "192.0.2.1");
    struct accounts_login *l, *begun;
    unsigned before;

    add_user(f, "joe@example.com", "secret");
    begun = accounts_login_new(f->accounts, f->loop, &lc, take_answer, f);
    assert_int_equal(step(f, begun, SLICE("joe")), ACCOUNTS_CHALLENGE);
    l = accounts_login_new(f->accounts, f->loop, &c, take_answer, f);
    before = f->answers;
    accounts_login_step(l, SLICE("\0joe\0secret"), true);
    stop_server(f); /* with the question on its way */
    for (int i = 0; i < 20; i++)
        turn(f);
    assert_int_equal(f->answers, before);
    start_server(f);
    connect_server(f);
    turn_until(f, f->answers > before);
    assert_int_equal(f->verdict, ACCOUNTS_OK);
    accounts_login_free(l);
    /* beyond its first step nothing can be asked again */
    assert_int_equal(step(f, begun, SLICE("secret")), ACCOUNTS_TEMPFAIL);
    accounts_login_free(begun);
}

/* Nobody waits for a link that could not help him. */
static void test_second_step_without_a_process(void **state)
{
    struct fixture *f = *state;
    struct accounts_client lc = client_of("LOGIN", "192.0.2.1");
    struct accounts_login *begun;
    unsigned before;

    add_user(f, "joe@example.com", "secret");
    begun = accounts_login_new(f->accounts, f->loop, &lc, take_answer, f);
    assert_int_equal(step(f, begun, SLICE("joe")), ACCOUNTS_CHALLENGE);
    stop_server(f);
    for (int i = 0; i < 20; i++)
        turn(f);
    before = f->answers;
    accounts_login_step(begun, SLICE("secret"), true);
    for (int i = 0; i < 20; i++)
        turn(f);
    assert_int_equal(f->answers, before + 1);
    assert_int_equal(f->verdict, ACCOUNTS_TEMPFAIL);
    accounts_login_free(begun);
    start_server(f);
    connect_server(f);
}

/* An engine died while a password was hashed; the next one's first question has
 * the same number. */
static void test_36_questions_of_the_next_engine(void **state)
{
    struct fixture *f = *state;
    struct accounts_client c = client_of("PLAIN", "192.0.2.1");
    struct accounts *dead[3];

    add_user(f, "joe@example.com", "secret");
    for (size_t i = 0; i < countof(dead); i++) {
        dead[i] = f->accounts;
        f->accounts = accounts_new(f->loop);
        connect_server(f);
        accounts_login_step(accounts_login_new(f->accounts, f->loop, &c, take_answer, f), SLICE("\0joe\0wrong"), true);
        turn(f); /* it is asked, and its login freed with it */
        turn(f);
    }
    accounts_free(f->accounts);
    f->accounts = accounts_new(f->loop);
    connect_server(f);
    assert_int_equal(plain(f, "joe", "secret"), ACCOUNTS_OK);
    for (size_t i = 0; i < countof(dead); i++)
        accounts_free(dead[i]);
}

static void test_cancelled(void **state)
{
    struct fixture *f = *state;
    struct accounts_client c = client_of("PLAIN", "192.0.2.1");
    unsigned before = f->answers;

    add_user(f, "joe@example.com", "secret");
    for (int i = 0; i < 50; i++) {
        struct accounts_login *l = accounts_login_new(f->accounts, f->loop, &c, take_answer, f);

        accounts_login_step(l, SLICE("\0joe\0secret"), true);
        if (i % 3 == 0)
            turn(f);
        accounts_login_free(l);
    }
    for (int i = 0; i < 100; i++)
        turn(f);
    assert_int_equal(f->answers, before);
    assert_int_equal(plain(f, "joe", "secret"), ACCOUNTS_OK);
}

static void test_charge(void **state)
{
    struct fixture *f = *state;
    struct buf answer = { 0 };

    f->config.messages_per_hour = 3;
    accounts_server_configure(f->server, &f->config);
    add_user(f, "joe@example.com", "secret");
    for (int i = 0; i < 3; i++)
        assert_true(charge(f, "joe@example.com", 2));
    assert_false(charge(f, "joe@example.com", 2));
    assert_non_null(strstr(buf_cstr(&f->why), "4.7.1 message limit of 3"));
    assert_int_equal(admin(f, &answer, "user-change", "user", "joe", "messages_per_hour", "unlimited",
                           "recipients_per_hour", "7", NULL),
                     ADMIN_OK);
    assert_false(charge(f, "joe@example.com", 2));
    assert_true(charge(f, "joe@example.com", 1));
    assert_false(charge(f, "nobody@example.com", 1));
    stop_server(f); /* a restart forgets nothing of it */
    start_server(f);
    connect_server(f);
    assert_false(charge(f, "joe@example.com", 1));
    assert_int_equal(admin(f, &answer, "user-show", "user", "joe", NULL), ADMIN_OK);
    buf_release(&answer);
}

static void test_bans(void **state)
{
    struct fixture *f = *state;
    struct buf answer = { 0 };
    enum accounts_verdict v = ACCOUNTS_DENIED;
    struct accounts_client c = client_of("PLAIN", "198.51.100.1");
    unsigned before;

    add_user(f, "joe@example.com", "secret");
    assert_int_equal(plain_from(f, "198.51.100.1", "joe", "secret"), ACCOUNTS_OK);
    before = f->answers; /* as a brute force does: many at once */
    for (int i = 0; i < 12; i++) {
        struct accounts_login *l = accounts_login_new(f->accounts, f->loop, &c, take_answer, f);

        accounts_login_step(l, SLICE("\0ann\0guess"), true);
        accounts_login_free(i < 100 ? NULL : l);
    }
    turn_until(f, f->answers >= before + 12);
    v = plain_from(f, "198.51.100.1", "ann", "guess");
    assert_int_equal(v, ACCOUNTS_LATER);
    assert_int_equal(plain_from(f, "198.51.100.1", "joe", "secret"), ACCOUNTS_OK); /* he is known there */
    assert_int_equal(admin(f, &answer, "bans-list", NULL), ADMIN_OK);
    assert_int_equal(admin(f, &answer, "bans-lift", "what", "198.51.100.1", NULL), ADMIN_OK);
    assert_int_equal(admin(f, &answer, "bans-lift", "what", "198.51.100.1", NULL), ADMIN_NOT_FOUND);
    assert_int_equal(plain_from(f, "198.51.100.1", "ann", "guess"), ACCOUNTS_DENIED);
    buf_release(&answer);
}

/* ---- other sources ----------------------------------------------------------------------------- */

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void test_file(void **state)
{
    struct fixture *f = *state;
    char path[128], text[1024], hash[PASSWORD_HASH_MAX];
    uint64_t until;

    assert_ok(password_hash(SLICE("yes"), hash));
    snprintf(path, sizeof path, "%s/passwd", f->dir);
    snprintf(text, sizeof text,
             "# from Dovecot\nann@example.org:{PLAIN}simple:1000:1000::/home/ann::\n"
             "bob:%s\njoe@example.com:{PLAIN}filed\nmd5:{MD5-CRYPT}$1$abcdefgh$irWbblnpmw.5z7wgBnprh0\n", hash);
    write_file(path, text);
    f->config.file = path;
    accounts_server_configure(f->server, &f->config);
    add_user(f, "joe@example.com", "stored");
    assert_int_equal(plain(f, "ann@example.org", "simple"), ACCOUNTS_OK);
    assert_string_equal(buf_cstr(&f->user), "ann@example.org");
    assert_int_equal(plain(f, "bob", "yes"), ACCOUNTS_OK);
    assert_string_equal(buf_cstr(&f->senders), "bob@example.com ");
    assert_int_equal(plain(f, "joe", "stored"), ACCOUNTS_OK); /* the store comes first */
    assert_int_equal(plain(f, "joe", "filed"), ACCOUNTS_DENIED);
    assert_true(charge(f, "bob@example.com", 1));
    write_file(path, "bob:{PLAIN}changed\n");
    until = clock_mono_ms(&clock_system) + 1100;
    turn_until(f, clock_mono_ms(&clock_system) > until);
    assert_int_equal(plain(f, "bob", "changed"), ACCOUNTS_OK);
    assert_int_equal(plain_from(f, "192.0.2.9", "ann@example.org", "simple"), ACCOUNTS_DENIED);
}

static void test_command(void **state)
{
    struct fixture *f = *state;
    char path[128], script[1024];
    const char *argv[] = { "/bin/sh", path, "arg one", NULL };

    snprintf(path, sizeof path, "%s/check.sh", f->dir);
    snprintf(script, sizeof script,
             "tr '\\0' '\\n' <&3 >%s/in\n"
             "{ read -r user; read -r password; } <%s/in\n"
             "test \"$1\" = 'arg one' -a \"$PROTO\" = SMTP -a \"$TCPREMOTEIP\" = 192.0.2.1 || exit 111\n"
             "case $password in right) exit 0;; broken) exit 111;; hang) sleep 100;; odd) exit 7;; esac\nexit 1\n",
             f->dir, f->dir);
    write_file(path, script);
    f->config.command = argv;
    f->config.command_timeout_ms = 500;
    accounts_server_configure(f->server, &f->config);
    assert_int_equal(plain(f, "eve@example.net", "right"), ACCOUNTS_OK);
    assert_string_equal(buf_cstr(&f->user), "eve@example.net");
    assert_int_equal(plain(f, "eve@example.net", "broken"), ACCOUNTS_TEMPFAIL);
    assert_int_equal(plain(f, "eve@example.net", "odd"), ACCOUNTS_TEMPFAIL);
    assert_int_equal(plain(f, "eve@example.net", "hang"), ACCOUNTS_TEMPFAIL);
    assert_int_equal(plain(f, "eve@example.net", "wrong"), ACCOUNTS_DENIED);
    argv[0] = "/nonexistent/checkpassword";
    accounts_server_configure(f->server, &f->config);
    assert_int_equal(plain(f, "eve@example.net", "other"), ACCOUNTS_TEMPFAIL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(test_plain),
        EACH(test_login_and_mechanisms),
        EACH(test_what_is_offered),
        EACH(test_authzid_and_external),
        EACH(test_unknown_takes_as_long),
        EACH(test_scram_does_not_tell),
        EACH(test_changes_count_at_once),
        EACH(test_app_passwords),
        EACH(test_bad_requests),
        EACH(test_list_by_pages),
        EACH(test_waits_for_the_next),
        EACH(test_second_step_without_a_process),
        EACH(test_36_users_that_cannot_be_read),
        EACH(test_36_questions_of_the_next_engine),
        EACH(test_cancelled),
        EACH(test_charge),
        EACH(test_bans),
        EACH(test_file),
        EACH(test_command),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
