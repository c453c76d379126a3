/* Users, application passwords and bans as people see them. */
#include "tests/unit/check.h"

#include "relayctl/render.h"

#include <time.h>

static json_t *parse(const char *text)
{
    json_t *doc = json_loads(text, 0, NULL);

    assert_non_null(doc);
    return doc;
}

static void test_list(void **state)
{
    json_t *users = parse("[{\"user\": \"joe@example.com\", \"disabled\": false, \"password\": true,"
                          "  \"app_passwords\": 2, \"created_ms\": 1795449912345, \"last_login_ms\": 1795449999999},"
                          " {\"user\": \"a\\u001b[2J@example.com\", \"disabled\": true, \"password\": true,"
                          "  \"app_passwords\": 0, \"created_ms\": 1795449912345},"
                          " {\"user\": \"new@example.com\", \"disabled\": false, \"password\": false,"
                          "  \"app_passwords\": 0, \"created_ms\": 1795449912345}]");
    struct buf out = { 0 };

    render_users(&out, users, false, 0);
    assert_string_equal(buf_cstr(&out),
                        "USER                  STATE        APPS  LAST LOGIN        CREATED\n"
                        "joe@example.com       active          2  2026-11-23 16:06  2026-11-23 16:05\n"
                        "a\\x1b[2J@example.com  disabled        0  never             2026-11-23 16:05\n"
                        "new@example.com       no password     0  never             2026-11-23 16:05\n");
    json_decref(users);
    users = json_array();
    buf_clear(&out);
    render_users(&out, users, false, 0);
    assert_non_null(strstr(buf_cstr(&out), "relayctl user add"));
    json_decref(users);
    buf_release(&out);
}

static void test_show(void **state)
{
    json_t *rows = parse("[{\"user\": \"joe@example.com\", \"disabled\": true, \"password\": true, \"scram\": true,"
                         "  \"services\": \"smtp\", \"senders\": [\"own\", \"example.org\"],"
                         "  \"messages_per_hour\": 5, \"recipients_per_hour\": \"unlimited\","
                         "  \"messages_this_hour\": 3, \"recipients_this_hour\": 9, \"created_ms\": 1795449912345,"
                         "  \"changed_ms\": 1795449912345},"
                         " {\"app\": \"phone\", \"created_ms\": 1795449912345}]");
    struct buf out = { 0 };

    render_user(&out, rows, false);
    assert_string_equal(buf_cstr(&out), "user                 joe@example.com, disabled\n"
                                        "password             yes, for SCRAM too\n"
                                        "services             smtp\n"
                                        "may send as          own, example.org\n"
                                        "messages per hour    5; 3 in the last hour\n"
                                        "recipients per hour  unlimited; 9 in the last hour\n"
                                        "created              2026-11-23 16:05\n"
                                        "changed              2026-11-23 16:05\n"
                                        "last login           never\n"
                                        "\n"
                                        "APPLICATION PASSWORD  LAST LOGIN  CREATED\n"
                                        "phone                 never       2026-11-23 16:05\n");
    json_decref(rows);
    buf_release(&out);
}

static void test_bans(void **state)
{
    json_t *rows = parse("[{\"client\": \"192.0.2.1\", \"failures\": 12, \"refused\": true, \"refused_for_ms\": 290000},"
                         " {\"user\": \"joe@example.com\", \"failures\": 1, \"refused\": false, \"refused_for_ms\": 0}]");
    struct buf out = { 0 };

    render_bans(&out, rows, false, 0);
    assert_string_equal(buf_cstr(&out), "WHO              FAILURES  REFUSED FOR\n"
                                        "192.0.2.1              12  4m\n"
                                        "joe@example.com         1  slowed only\n");
    json_decref(rows);
    buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_show),
        cmocka_unit_test(test_bans),
    };

    setenv("TZ", "UTC", 1);
    tzset();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
