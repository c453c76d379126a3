/* accounts { … }: where users come from, and what is wrong there. */
#include "tests/unit/check_conf.h"

#include "relayd/settings.h"

static struct settings *load(const char *text, struct buf *errors)
{
    struct bundle *b = bundle_new("conf");
    struct diagnostics d = { 0 };
    struct settings *s = NULL;
    struct err e;

    assert_ok(bundle_add(b, BUNDLE_FILE, "/etc/relayd/conf", slice_str(text), NULL));
    e = settings_load_bundle(b, &d, &s);
    bundle_free(b);
    brief(&d, errors);
    assert_int_equal(s == NULL, err_failed(e));
    diagnostics_release(&d);
    return s;
}

static struct settings *load_good(const char *text)
{
    struct buf errors = { 0 };
    struct settings *s = load(text, &errors);

    assert_string_equal(buf_cstr(&errors), "");
    buf_release(&errors);
    return s;
}

static void test_defaults(void **state)
{
    struct settings *s = load_good("hostname mail.example.com");

    assert_string_equal(s->accounts.domain, "mail.example.com");
    assert_null(s->accounts.file);
    assert_null(s->accounts.command);
    assert_int_equal(s->accounts.command_timeout_ms, 10 * SECOND_MS);
    assert_int_equal(s->accounts.command_processes, 8);
    assert_int_equal(s->accounts.messages_per_hour, 0);
    assert_true(settings_offer_scram(s));
    settings_unref(s);
}

static void test_all(void **state)
{
    struct settings *s = load_good("hostname mail.example.com\n"
                                   "accounts { domain Example.COM; file users; command /bin/check \"a b\" c\n"
                                   "command_timeout 2s; command_processes 3\n"
                                   "messages_per_hour 200; recipients_per_hour unlimited }");

    assert_string_equal(s->accounts.domain, "example.com");
    assert_string_equal(s->accounts.file, "/etc/relayd/users");
    assert_string_equal(s->accounts.command[0], "/bin/check");
    assert_string_equal(s->accounts.command[1], "a b");
    assert_string_equal(s->accounts.command[2], "c");
    assert_null(s->accounts.command[3]);
    assert_int_equal(s->accounts.command_timeout_ms, 2000);
    assert_int_equal(s->accounts.command_processes, 3);
    assert_int_equal(s->accounts.messages_per_hour, 200);
    assert_int_equal(s->accounts.recipients_per_hour, 0);
    assert_false(settings_offer_scram(s));
    settings_unref(s);
    s = load_good("hostname m.example.com; accounts { file users; scram on }");
    assert_true(settings_offer_scram(s));
    settings_unref(s);
    s = load_good("hostname m.example.com; accounts { scram off }");
    assert_false(settings_offer_scram(s));
    settings_unref(s);
}

static void test_mistakes(void **state)
{
    static const char *const rows[] = {
        "accounts",
        "accounts { file }",
        "accounts { command }",
        "accounts { command a, b }",
        "accounts { domain 192.0.2.1 }",
        "accounts { scram maybe }",
        "accounts { command_timeout 10h }",
        "accounts { command_processes 0 }",
        "accounts { messages_per_hour 0 }",
        "accounts { fiel /etc/users }",
        "accounts { file a; file b }",
    };
    struct buf errors = { 0 };

    for (size_t i = 0; i < countof(rows); i++) {
        if (load(rows[i], &errors) != NULL)
            fail_msg("taken: %s", rows[i]);
        assert_non_null(strstr(buf_cstr(&errors), "1:"));
    }
    buf_release(&errors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_all),
        cmocka_unit_test(test_mistakes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
