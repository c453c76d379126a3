/* Bearer tokens: what counts as one, and where they come from. */
#include "tests/unit/check.h"

#include "delivery/token.h"
#include "net/uvloop.h"

#include <stdio.h>
#include <unistd.h>

static void test_parse(void **state)
{
    static const struct {
        const char *text, *token; /* token NULL: none in it */
        uint64_t good_for_ms;
    } rows[] = {
        { "ya29.a-b_c~d+e/f==", "ya29.a-b_c~d+e/f==", 0 },
        { "tok\n", "tok", 0 },
        { "  tok \r\n3599\r\n", "tok", 3599000 },
        { "tok\n\n\n", "tok", 0 },
        { "tok\n99999999999\n", "tok", 2592000000 },
        { "{\"access_token\":\"tok\",\"expires_in\":3599,\"token_type\":\"Bearer\"}", "tok", 3599000 },
        { "{ \"expires_in\" : 60 ,\n \"access_token\" : \"tok\" }", "tok", 60000 },
        { "{\"access_token\":\"tok\"}", "tok", 0 },
        { "", NULL, 0 },
        { "\n", NULL, 0 },
        { "two words\n", NULL, 0 },
        { "tok\nsoon\n", NULL, 0 },
        { "tok\n0\n", NULL, 0 },
        { "tok\n-1\n", NULL, 0 },
        { "t\x01ok", NULL, 0 },
        { "{\"error\":\"invalid_grant\"}", NULL, 0 },
        { "{\"access_token\":null}", NULL, 0 },
        { "{\"access_token\":\"a b\"}", NULL, 0 },
        { "{\"access_token\":\"", NULL, 0 },
        { "{\"access_token\"", NULL, 0 },
        { "{", NULL, 0 },
    };

    for (size_t i = 0; i < countof(rows); i++) {
        struct buf out = { 0 };
        uint64_t good_for = 0;
        const char *why = NULL;
        char *copy = malloc(strlen(rows[i].text) + 1); /* exact, for the sanitizer */
        bool ok;

        memcpy(copy, rows[i].text, strlen(rows[i].text));
        ok = token_parse(slice_make(copy, strlen(rows[i].text)), &out, &good_for, &why);
        if (ok != (rows[i].token != NULL))
            fail_msg("\"%s\": %d", rows[i].text, ok);
        if (ok) {
            assert_string_equal(buf_cstr(&out), rows[i].token);
            assert_int_equal(good_for, rows[i].good_for_ms);
        } else {
            assert_int_equal(buf_len(&out), 0);
            assert_non_null(why);
        }
        buf_release(&out);
        free(copy);
    }
}

struct fix {
    struct loop *loop;
    struct token *token;
    unsigned changed;
    char path[64];
};

static void changed(void *ctx)
{
    struct fix *f = ctx;

    f->changed++;
    uvloop_stop(f->loop);
}

static void make(struct fix *f, const char *file, const char *const *command)
{
    *f = (struct fix){ 0 };
    assert_ok(uvloop_new(0, &clock_system, &f->loop));
    f->token = token_new(&(struct token_options){
        .loop = f->loop, .title = "out", .file = file, .command = command, .changed = changed, .ctx = f });
}

static void drop(struct fix *f)
{
    token_free(f->token);
    uvloop_free(f->loop);
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void test_file(void **state)
{
    char path[] = "/tmp/relayd-token-XXXXXX";
    const char *token, *why;
    unsigned serial;
    struct fix f;

    close(mkstemp(path));
    make(&f, path, NULL);
    write_file(path, "first\n");
    assert_int_equal(token_ask(f.token, &token, &why), TOKEN_READY);
    assert_string_equal(token, "first");
    serial = token_serial(f.token);
    write_file(path, "second\n");
    f.loop->now_ms += TOKEN_FILE_MS; /* it is looked at again */
    assert_int_equal(token_ask(f.token, &token, &why), TOKEN_READY);
    assert_string_equal(token, "second");
    assert_int_not_equal(token_serial(f.token), serial);
    token_refused(f.token, serial); /* of the one before: nothing to do with this one */
    write_file(path, "third\n");
    assert_int_equal(token_ask(f.token, &token, &why), TOKEN_READY);
    assert_string_equal(token, "second");
    token_refused(f.token, token_serial(f.token));
    assert_int_equal(token_ask(f.token, &token, &why), TOKEN_READY);
    assert_string_equal(token, "third");

    unlink(path);
    f.loop->now_ms += TOKEN_FILE_MS;
    assert_int_equal(token_ask(f.token, &token, &why), TOKEN_FAILED);
    assert_null(token);
    assert_non_null(strstr(why, "can't be read: No such file"));
    write_file(path, "fourth\n");
    assert_int_equal(token_ask(f.token, &token, &why), TOKEN_FAILED); /* not at once again */
    f.loop->now_ms += TOKEN_RETRY_MS;
    assert_int_equal(token_ask(f.token, &token, &why), TOKEN_READY);
    drop(&f);
    unlink(path);
}

static void test_command(void **state)
{
    const char *const command[] = { "/bin/sh", "-c", "echo tok$0; echo 100", "en", NULL };
    const char *token, *why;
    struct fix f;

    make(&f, NULL, command);
    assert_int_equal(token_ask(f.token, &token, &why), TOKEN_WAIT);
    assert_int_equal(token_ask(f.token, &token, &why), TOKEN_WAIT); /* one at a time */
    uvloop_run(f.loop);
    assert_int_equal(f.changed, 1);
    assert_int_equal(token_ask(f.token, &token, &why), TOKEN_READY);
    assert_string_equal(token, "token");
    f.loop->now_ms += 81 * SECOND_MS; /* good still, and fetched anew beside */
    assert_int_equal(token_ask(f.token, &token, &why), TOKEN_READY);
    uvloop_run(f.loop);
    assert_int_equal(f.changed, 2);
    drop(&f);
}

static void test_command_fails(void **state)
{
    const char *const command[] = { "/bin/sh", "-c", "echo tok; echo 'no \x1b[1m luck' >&2; exit 7", NULL };
    const char *const silly[] = { "/bin/sh", "-c", "echo so sorry", NULL };
    const char *token, *why;
    struct fix f;

    make(&f, NULL, command);
    assert_int_equal(token_ask(f.token, &token, &why), TOKEN_WAIT);
    uvloop_run(f.loop);
    assert_int_equal(token_ask(f.token, &token, &why), TOKEN_FAILED);
    assert_string_equal(why, "/bin/sh ended with status 7: no ?[1m luck");
    f.loop->now_ms += TOKEN_RETRY_MS;
    assert_int_equal(token_ask(f.token, &token, &why), TOKEN_WAIT);
    drop(&f); /* while it runs */

    make(&f, NULL, silly);
    assert_int_equal(token_ask(f.token, &token, &why), TOKEN_WAIT);
    uvloop_run(f.loop);
    assert_int_equal(token_ask(f.token, &token, &why), TOKEN_FAILED);
    assert_string_equal(why, "/bin/sh: its first line is no token");
    drop(&f);
    token_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_command),
        cmocka_unit_test(test_command_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
