/* Users' admin in JSON: what goes in, what comes out. */
#include "tests/unit/check.h"

#include "control/accounts_json.h"

static bool request_of(const char *text, struct buf *out, const char **why)
{
    json_t *body = json_loads(text, JSON_DECODE_ANY, NULL);
    bool good;

    assert_non_null(body);
    buf_clear(out);
    good = accounts_request_of_json(SLICE("user-add"), body, out, why);
    json_decref(body);
    return good;
}

static void test_request(void **state)
{
    struct admin_request r;
    struct buf b = { 0 };
    const char *why;

    assert_true(request_of("{\"user\": \"joe@example.com\", \"disabled\": true, \"other\": false, \"limit\": 17,"
                           "\"empty\": \"\"}", &b, &why));
    assert_ok(admin_request_get(buf_bytes(&b), &r));
    assert_slice_str(r.op, "user-add");
    assert_slice_str(admin_text(&r.fields, "user"), "joe@example.com");
    assert_slice_str(admin_text(&r.fields, "disabled"), "yes");
    assert_slice_str(admin_text(&r.fields, "other"), "no");
    assert_slice_str(admin_text(&r.fields, "limit"), "17");
    assert_true(admin_has(&r.fields, "empty"));
    assert_false(admin_has(&r.fields, "password"));
    buf_release(&b);
}

static void test_bad_requests(void **state)
{
    static const char *const rows[] = {
        "[]", "3", "\"user\"", "{\"user\": null}", "{\"user\": [\"a\"]}", "{\"user\": {}}", "{\"limit\": 1.5}",
        ("{\"a\":1,\"b\":1,\"c\":1,\"d\":1,\"e\":1,\"f\":1,\"g\":1,\"h\":1,\"i\":1,\"j\":1,\"k\":1,\"l\":1,\"m\":1,"
         "\"n\":1,\"o\":1,\"p\":1,\"q\":1}"),
    };
    struct buf b = { 0 };
    const char *why = NULL;

    for (size_t i = 0; i < countof(rows); i++) {
        if (request_of(rows[i], &b, &why))
            fail_msg("taken: %s", rows[i]);
        assert_non_null(why);
    }
    buf_release(&b);
}

static void test_answer(void **state)
{
    struct admin_fields row = { .count = 0 };
    enum admin_status status;
    struct buf b = { 0 };
    json_t *doc, *first;

    admin_answer_begin(&b, ADMIN_OK, "%s", "done");
    admin_add_text(&row, "user", SLICE("joe@example.com"));
    admin_add_switch(&row, "disabled", true);
    admin_add_number(&row, "failures", 3);
    admin_add_time(&row, "created", 1795449912345ull);
    admin_add_time(&row, "last_login", 0);
    admin_add_list(&row, "senders", SLICE("own\0example.org\0"));
    admin_row_put(&b, &row);
    doc = accounts_answer_json(buf_bytes(&b), &status);
    assert_non_null(doc);
    assert_int_equal(status, ADMIN_OK);
    assert_string_equal(json_string_value(json_object_get(doc, "text")), "done");
    first = json_array_get(json_object_get(doc, "rows"), 0);
    assert_string_equal(json_string_value(json_object_get(first, "user")), "joe@example.com");
    assert_true(json_is_true(json_object_get(first, "disabled")));
    assert_int_equal(json_integer_value(json_object_get(first, "failures")), 3);
    assert_int_equal(json_integer_value(json_object_get(first, "created_ms")), 1795449912345ll);
    assert_null(json_object_get(first, "last_login"));
    assert_int_equal(json_array_size(json_object_get(first, "senders")), 2);
    json_decref(doc);
    assert_null(accounts_answer_json(SLICE("nonsense"), &status));
    assert_null(accounts_answer_json(SLICE(""), &status));
    buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request),
        cmocka_unit_test(test_bad_requests),
        cmocka_unit_test(test_answer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
