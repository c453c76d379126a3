/* Statements against a table of directives: names, arguments, repetitions,
 * variables of the environment. */
#include "tests/unit/check_conf.h"

#include "conf/conf.h"

struct store { /* where the test's directives go */
    unsigned count;
    uint64_t wait_ms;
    uint64_t size;
    uint16_t port;
    bool on, flag;
    const char *path, *text, *password;
    struct {
        unsigned depth;
    } inner;
    struct buf seen; /* what was taken, in order */
};

static void take_seen(struct conf *c, const struct conf_stmt *s, void *into)
{
    struct store *st = c->user;

    buf_printf(&st->seen, "[%s", s->row->name);
    for (size_t i = 0; i < s->arg_count; i++)
        buf_printf(&st->seen, " %.*s", (int)s->args[i].text.len, s->args[i].text.ptr);
    buf_add_byte(&st->seen, ']');
    if (s->has_block)
        conf_take_block(c, s, NULL);
}

#define AT(member) offsetof(struct store, member)

static const struct conf_row rows[] = {
    { "", "count", "unlimited | NUMBER(1..10)", 0, conf_take_unsigned, AT(count) },
    { "", "wait", "DURATION(1s..1h)", 0, conf_take_duration, AT(wait_ms) },
    { "", "size", "none | SIZE", 0, conf_take_size, AT(size) },
    { "", "port", "NUMBER(1..65535)", 0, conf_take_u16, AT(port) },
    { "", "on", "SWITCH", 0, conf_take_switch, AT(on) },
    { "", "flag", "", 0, conf_take_flag, AT(flag) },
    { "", "path", "PATH", 0, conf_take_path, AT(path) },
    { "", "text", "TEXT", 0, conf_take_string, AT(text) },
    { "", "password", "SECRET", 0, conf_take_string, AT(password) },
    { "", "password_file", "SECRET_FILE", 0, conf_take_nothing, 0 },
    { "", "rate", "RATE", 0, conf_take_nothing, 0 },
    { "", "inner", "", CONF_BLOCK_MUST, conf_take_block, AT(inner) },
    { "inner", "depth", "NUMBER", 0, conf_take_unsigned, 0 },
    { "", "list", "WORD {, WORD}", CONF_MANY, take_seen, 0 },
    { "", "way", "default (up | down WORD) | [from WORD] [to WORD] (up | down WORD)", CONF_MANY, take_seen, 0 },
    { "", "host", "NAME", CONF_MANY | CONF_TITLED | CONF_BLOCK | CONF_ENV_TITLE, take_seen, 0 },
    { "host", "tls", "on | off", 0, take_seen, 0 },
    { "host", "secret_key", "SECRET_FILE", CONF_LATER, NULL, 0 },
    { "", "plan", "[NAME]", CONF_MANY | CONF_TITLED | CONF_BLOCK_MUST | CONF_ENV_PLAIN, take_seen, 0 },
    { "plan", "first", "NUMBER", 0, take_seen, 0 },
    { "", "future", "", CONF_BLOCK_MUST | CONF_LATER, NULL, 0 },
    { "future", "date", "NUMBER", 0, NULL, 0 },
    { NULL, NULL, NULL, 0, NULL, 0 },
};

static const struct conf_type no_types[] = { { NULL, NULL, NULL, NULL } };
static const struct conf_schema schema = { .rows = rows, .types = no_types, .env_prefix = "TEST_" };

static struct store store;

/* Loads one text and variables "NAME=value"; the diagnostics come out. */
static void load(const char *text, const char *const *env, struct buf *errors)
{
    struct bundle *b = bundle_new("conf");
    struct diagnostics d = { 0 };
    struct pool *pool = pool_new();
    struct conf c = { .schema = &schema, .bundle = b, .pool = pool, .diags = &d, .user = &store };

    buf_release(&store.seen);
    store = (struct store){ 0 };
    assert_ok(bundle_add(b, BUNDLE_FILE, "/etc/test/conf", slice_str(text), NULL));
    for (; env != NULL && *env != NULL; env++) {
        struct slice value = slice_str(*env), name;
        char *variable;

        assert_true(slice_split(&value, '=', &name));
        variable = strndup(name.ptr, name.len);
        assert_ok(bundle_add(b, BUNDLE_ENV, variable, value, NULL));
        free(variable);
    }
    conf_load(&c, &store);
    brief(&d, errors);
    diagnostics_release(&d);
    bundle_free(b);
    if (store.path != NULL)
        store.path = strdup(store.path);
    if (store.text != NULL)
        store.text = strdup(store.text);
    if (store.password != NULL)
        store.password = strdup(store.password);
    pool_free(pool);
}

static void store_free(void)
{
    free((char *)store.path);
    free((char *)store.text);
    free((char *)store.password);
    buf_release(&store.seen);
}

static void test_takers(void **state)
{
    struct buf errors = { 0 };

    load("count 7; wait 5m; size 2K; port 65535; on yes; flag; path a/./b//c; text \"x y\"\n"
         "inner { depth 3 }",
         NULL, &errors);
    assert_string_equal(buf_cstr(&errors), "");
    assert_int_equal(store.count, 7);
    assert_int_equal(store.wait_ms, 300000);
    assert_int_equal(store.size, 2048);
    assert_int_equal(store.port, 65535);
    assert_true(store.on);
    assert_true(store.flag);
    assert_string_equal(store.path, "/etc/test/a/b/c");
    assert_string_equal(store.text, "x y");
    assert_int_equal(store.inner.depth, 3);
    store_free();

    load("count unlimited; size none; on off; path /; text \"\"", NULL, &errors);
    assert_string_equal(buf_cstr(&errors), "");
    assert_int_equal(store.count, 0);
    assert_int_equal(store.size, 0);
    assert_false(store.on);
    assert_false(store.flag);
    assert_string_equal(store.path, "/");
    assert_string_equal(store.text, "");
    store_free();
    buf_release(&errors);
}

static void test_patterns(void **state)
{
    static const struct {
        const char *text, *seen;
    } good[] = {
        { "list a", "[list a]" },
        { "list a, b,\n c\nlist d", "[list a , b , c][list d]" },
        { "way up", "[way up]" },
        { "way from a up", "[way from a up]" },
        { "way from a to b down c", "[way from a to b down c]" },
        { "way to b up", "[way to b up]" },
        { "way default down x", "[way default down x]" },
        { "host a; host b { tls on }", "[host a][host b][tls on]" },
        { "plan { first 1 }\nplan x { first 2 }", "[plan][first 1][plan x][first 2]" },
    };
    struct buf errors = { 0 };

    for (size_t i = 0; i < countof(good); i++) {
        load(good[i].text, NULL, &errors);
        assert_string_equal(buf_cstr(&errors), "");
        assert_string_equal(buf_cstr(&store.seen), good[i].seen);
        store_free();
    }
    buf_release(&errors);
}

static void test_errors(void **state)
{
    static const struct {
        const char *text, *errors;
    } bad[] = {
        /* names */
        { "conut 5", "1:1: unknown directive \"conut\"; did you mean \"count\"?" },
        { "xyzzy", "1:1: unknown directive \"xyzzy\"" },
        { "xyzzy { count x }", "1:1: unknown directive \"xyzzy\"" },
        { "inner { dept 3 }", "1:9: unknown directive \"dept\" in \"inner\"; did you mean \"depth\"?" },
        { "depth 3", "1:1: unknown directive \"depth\"; it stands in \"inner { … }\"" },
        { "inner { count 3 }", "1:9: unknown directive \"count\" in \"inner\"; it stands outside of blocks" },
        { "inner { include x }", "1:9: \"include\" stands outside of blocks" },
        { "Count 5", "1:1: unknown directive \"Count\"; did you mean \"count\"?" },
        /* number of arguments */
        { "count", "1:6: \"count\" needs \"unlimited\" or a number here" },
        { "count 5 6", "1:9: \"count\" takes no further argument \"6\"" },
        { "count ,", "1:7: \"count\" needs \"unlimited\" or a number here, not \",\"" },
        { "count 5,", "1:8: \"count\" takes no further argument \",\"" },
        { "flag 1", "1:6: \"flag\" takes no argument \"1\"" },
        { "list", "1:5: \"list\" needs a word here" },
        { "list a b", "1:8: \"list\" takes no further argument \"b\"" },
        { "list a,", "1:8: \"list\" needs a word here" },
        { "list a,,b", "1:8: \"list\" needs a word here, not \",\"" },
        { "list \"\"", "1:6: \"\" is not a word: it is empty" },
        /* values */
        { "count 0", "1:7: \"0\" is out of range: 1 to 10" },
        { "count 11", "1:7: \"11\" is out of range: 1 to 10" },
        { "count ten", "1:7: \"ten\" is not a number: it begins with no digit" },
        { "count -1", "1:7: \"-1\" is not a number: it can't be negative" },
        { "count 1x", "1:7: \"1x\" is not a number: something follows the digits" },
        { "count 99999999999999999999", "1:7: \"99999999999999999999\" is not a number: the number is too large" },
        { "wait 5", "1:6: \"5\" is not a duration such as 30s or 5m: the unit is missing: ms, s, m, h or d" },
        { "wait 5M", "1:6: \"5M\" is not a duration such as 30s or 5m: minutes are a small m" },
        { "wait 2h", "1:6: \"2h\" is out of range: 1s to 1h" },
        { "size 5m", "1:6: \"5m\" is not a size such as 512K or 20M: MiB is a capital M" },
        { "size 5MB", "1:6: \"5MB\" is not a size such as 512K or 20M: the units are K, M, G and T" },
        { "on maybe", "1:4: \"maybe\" is not \"yes\" or \"no\": it is yes or no" },
        { "rate 5", "1:6: \"5\" is not a rate such as 30/min: a \"/\" and s, min, h or day must follow the number" },
        { "path \"\"", "1:6: \"\" is not a path: it is empty" },
        { "host a/b", "1:6: \"a/b\" is not a name: it is made of letters, digits, \"_\", \"-\" and \".\"" },
        /* choices */
        { "way", "1:4: \"way\" needs \"default\", \"from\", \"to\", \"up\" or \"down\" here" },
        { "way form a up",
          "1:5: \"way\" needs \"default\", \"from\", \"to\", \"up\" or \"down\" here, not \"form\"; did you mean "
          "\"from\"?" },
        { "way from a", "1:11: \"way\" needs \"to\", \"up\" or \"down\" here" },
        { "way from", "1:9: \"way\" needs a word here" },
        { "way to b from a up", "1:10: \"way\" needs \"up\" or \"down\" here, not \"from\"" },
        { "way default", "1:12: \"way\" needs \"up\" or \"down\" here" },
        { "way down", "1:9: \"way\" needs a word here" },
        { "host a { tls offf }", "1:14: \"tls\" needs \"on\" or \"off\" here, not \"offf\"; did you mean \"off\"?" },
        /* blocks */
        { "count 5 {}", "1:1: \"count\" takes no block" },
        { "inner", "1:6: \"inner\" needs a block: { … }" },
        { "inner x { depth y }", "1:7: \"inner\" takes no argument \"x\"\n"
                                 "1:17: \"y\" is not a number: it begins with no digit" },
        /* repetitions */
        { "count 5\nsize 1\ncount 6", "3:1: a second \"count\"; the first is at conf:1" },
        { "flag\nflag\nflag", "2:1: a second \"flag\"; the first is at conf:1\n"
                              "3:1: a second \"flag\"; the first is at conf:1" },
        { "inner {depth 1}\ninner{depth 1;depth 2}", "2:1: a second \"inner\"; the first is at conf:1\n"
                                                     "2:15: a second \"depth\"; the first is at conf:2" },
        { "host a\nhost b\nhost A", "3:6: a second host \"A\"; the first is at conf:1" },
        { "plan {}\nplan a {}\nplan {}", "3:1: a second \"plan\"; the first is at conf:1" },
        /* later */
        { "future { date 1 }", "1:1: \"future\" is not in this release" },
        { "future { date x }", "1:1: \"future\" is not in this release\n"
                               "1:15: \"x\" is not a number: it begins with no digit" },
        { "future", "1:7: \"future\" needs a block: { … }" },
        { "host a { secret_key /nowhere }", "1:10: \"secret_key\" is not in this release" },
        { "host a { secret_key }", "1:20: \"secret_key\" needs the path of a file here" },
        /* secrets stay secret */
        { "password a b", "1:12: \"password\" takes no further argument what is given" },
        { "password \"\"", "1:10: what is given is not a secret: it is empty" },
        { "password_file x", "1:15: can't use \"x\": it is not part of this configuration" },
        /* all of them, in order */
        { "wait x\ncount 5\ncunt 5\nflag 1",
          "1:6: \"x\" is not a duration such as 30s or 5m: it begins with no digit\n"
          "3:1: unknown directive \"cunt\"; did you mean \"count\"?\n"
          "4:6: \"flag\" takes no argument \"1\"" },
        { "include", "1:1: \"include\" needs one path, of a file, a folder or with wildcards" },
        { "include a b", "1:1: \"include\" needs one path, of a file, a folder or with wildcards" },
        { "include \"\"", "1:1: \"include\" needs one path, of a file, a folder or with wildcards" },
        { "include a { }", "1:1: \"include\" needs one path, of a file, a folder or with wildcards" },
        { "include a", "1:9: can't read \"a\": it is not part of this configuration" },
        { "include conf", "1:9: \"conf\" includes itself" },
        { "include ./conf", "1:9: \"./conf\" includes itself" },
    };
    struct buf errors = { 0 };

    for (size_t i = 0; i < countof(bad); i++) {
        load(bad[i].text, NULL, &errors);
        assert_string_equal(buf_cstr(&errors), bad[i].errors);
        store_free();
    }
    buf_release(&errors);
}

/* A statement with an error must not reach its taker. */
static void test_bad_is_not_taken(void **state)
{
    struct buf errors = { 0 };

    load("count 11; port 5; way up down; host a { tls maybe }; plan { first x }; host b c { tls on }", NULL,
         &errors);
    assert_int_equal(store.count, 0);
    assert_int_equal(store.port, 5);
    assert_string_equal(buf_cstr(&store.seen), "[host a][plan]");
    store_free();
    buf_release(&errors);
}

static void test_environment(void **state)
{
    static const struct {
        const char *text;
        const char *env[4];
        const char *errors, *seen;
        unsigned count, depth;
    } cases[] = {
        { "count 5", { "TEST_COUNT=6" }, "", "", 6, 0 },
        { "", { "TEST_COUNT=6", "TEST_INNER_DEPTH=4" }, "", "", 6, 4 },
        { "inner { depth 1 }", { "TEST_INNER_DEPTH=4" }, "", "", 0, 4 },
        { "count x", { "TEST_COUNT=6" }, "", "", 6, 0 },
        { "count 5", { "TEST_COUNT=" }, "", "", 5, 0 },
        { "count 5", { "TEST_COUNT= 7 " }, "", "", 7, 0 },
        { "host a { tls on }\nhost b-c { tls on }",
          { "TEST_HOST_B_C_TLS=off" },
          "",
          "[host a][tls on][host b-c][tls off]",
          0,
          0 },
        { "plan { first 1 }\nplan x { first 2 }",
          { "TEST_PLAN_FIRST=3" },
          "",
          "[plan][first 3][plan x][first 2]",
          0,
          0 },
        { "plan x { first 2 }", { "TEST_PLAN_FIRST=3" }, "", "[plan x][first 2][plan][first 3]", 0, 0 },
        { "", { "TEST_PORT_25_TCP=tcp://10.0.0.1:25", "TEST_SERVICE_HOST=10.0.0.1" }, "", "", 0, 0 },
        { "",
          { "TEST_CUONT=5" },
          "TEST_CUONT:warning: this variable stands for no directive; it is ignored",
          "",
          0,
          0 },
        { "",
          { "TEST_HOST_A_TLS=on" },
          "TEST_HOST_A_TLS:warning: this variable stands for no directive; it is ignored",
          "",
          0,
          0 },
        { "",
          { "TEST_LIST=a" },
          "TEST_LIST:warning: this variable stands for no directive; it is ignored",
          "",
          0,
          0 },
        { "",
          { "TEST_INNER=x" },
          "TEST_INNER:warning: this variable stands for no directive; it is ignored",
          "",
          0,
          0 },
        { "", { "TEST_COUNT=11" }, "TEST_COUNT:1:1: \"11\" is out of range: 1 to 10", "", 0, 0 },
        { "",
          { "TEST_COUNT=5 6" },
          "TEST_COUNT:1:3: \"count\" takes no further argument \"6\"",
          "",
          0,
          0 },
        { "",
          { "TEST_COUNT=5; port 6" },
          "TEST_COUNT:1:2: only the arguments of \"count\" stand here",
          "",
          0,
          0 },
        { "",
          { "TEST_COUNT=5 {" },
          "TEST_COUNT:1:3: only the arguments of \"count\" stand here",
          "",
          0,
          0 },
        { "", { "TEST_COUNT=\"5" }, "TEST_COUNT:1:1: the quote is not closed on its line", "", 0, 0 },
        { "", { "TEST_TEXT=a\nb" }, "TEST_TEXT:1:1: control character \\x0a in the value", "", 0, 0 },
    };
    struct buf errors = { 0 };

    for (size_t i = 0; i < countof(cases); i++) {
        load(cases[i].text, cases[i].env, &errors);
        assert_string_equal(buf_cstr(&errors), cases[i].errors);
        assert_string_equal(buf_cstr(&store.seen), cases[i].seen);
        assert_int_equal(store.count, cases[i].count);
        assert_int_equal(store.inner.depth, cases[i].depth);
        store_free();
    }

    /* a single value needs no quoting, and a secret is not shown */
    load("password x", (const char *const[]){ "TEST_PASSWORD=a\"b;{c} #d", "TEST_TEXT=x  y", NULL }, &errors);
    assert_string_equal(buf_cstr(&errors), "");
    assert_string_equal(store.password, "a\"b;{c} #d");
    assert_string_equal(store.text, "x  y");
    store_free();
    buf_release(&errors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_takers),           cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_errors),           cmocka_unit_test(test_bad_is_not_taken),
        cmocka_unit_test(test_environment),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
