/* The dialogue scripts of chasquid, read where they lie (DATA_DIR), played
 * against our server: the class of each reply code is the same, but for the
 * rows of `ours`. Without the scripts the test is skipped.
 */
#include "tests/unit/check.h"

#include "smtp/server.h"

#include <dirent.h>
#include <stdio.h>

/* Where we differ, and why. */
static const struct difference {
    const char *file, *expected; /* begins so */
    char class_;
} ours[] = {
    /* a header that is none: a relay passes it on, and the reader's program copes */
    { "bad_data.cmy", "554 5.6.0 Error parsing message", '2' },
    /* no such label is registered, but its letters are fit for DNS */
    { "bad_mail_from.cmy", "501 5.1.8 Malformed sender domain", 0 },
};

struct dialogue {
    struct smtp_server *server;
    struct buf out;
    const char *file;
    unsigned compared;
};

static void on_sender(void *ctx, const struct smtp_sender *from)
{
    smtp_server_answer(((struct dialogue *)ctx)->server, 250, "2.0.0 ok");
}

static void on_recipient(void *ctx, const struct smtp_recipient *to)
{
    smtp_server_answer(((struct dialogue *)ctx)->server, 250, "2.0.0 ok");
}

static void on_begin(void *ctx)
{
    smtp_server_answer(((struct dialogue *)ctx)->server, 354, "go");
}

static void on_bytes(void *ctx, struct slice bytes)
{
}

static void on_end(void *ctx, const struct smtp_content *content)
{
    smtp_server_answer(((struct dialogue *)ctx)->server, 250, "2.0.0 ok");
}

static void on_reset(void *ctx)
{
}

static const struct smtp_server_handler handler = {
    .sender = on_sender,
    .recipient = on_recipient,
    .message_begin = on_begin,
    .message_bytes = on_bytes,
    .message_end = on_end,
    .transaction_reset = on_reset,
};

static const struct smtp_server_options options = {
    .hostname = "localhost",
    .message_size_max = 1 * MIB,
    .errors_max = 20,
    .received_max = 50,
};

static void connect_again(struct dialogue *d)
{
    smtp_server_free(d->server);
    buf_clear(&d->out);
    d->server = smtp_server_new(&options, &handler, d);
    smtp_server_greet(d->server);
}

static void send(struct dialogue *d, const char *text, size_t len)
{
    struct buf *out = smtp_server_out(d->server);

    smtp_server_feed(d->server, slice_make(text, len));
    buf_add(&d->out, buf_bytes(out));
    buf_take(out, buf_len(out));
}

/* 'text\r\n' or ('x' * 899 + '\r\n') * 1166, as the scripts write Python. */
static void send_python(struct dialogue *d, const char *text)
{
    unsigned width, times;
    struct buf bytes = { 0 };
    char c;

    if (sscanf(text, "('%c' * %u + '\\r\\n') * %u", &c, &width, &times) == 3) {
        for (unsigned i = 0; i < times; i++) {
            memset(buf_reserve(&bytes, width), c, width);
            buf_extend(&bytes, width);
            buf_add_str(&bytes, "\r\n");
        }
    } else {
        assert_int_equal(*text, '\'');
        for (text++; *text != '\'' && *text != '\0'; text++) {
            if (*text == '\\')
                buf_add_byte(&bytes, *++text == 'r' ? '\r' : *text == 'n' ? '\n' : *text);
            else
                buf_add_byte(&bytes, *text);
        }
    }
    send(d, buf_bytes(&bytes).ptr, buf_len(&bytes));
    buf_release(&bytes);
}

/* One line of ours, as an expectation of theirs takes one. */
static bool take_line(struct dialogue *d, char *line, size_t size)
{
    struct slice out = buf_bytes(&d->out);
    size_t lf = slice_find(out, '\n');

    if (lf == out.len)
        return false;
    snprintf(line, size, "%.*s", (int)lf - 1, out.ptr);
    buf_take(&d->out, lf + 1);
    return true;
}

static void expect(struct dialogue *d, const char *expected, unsigned number, bool lines_before)
{
    char line[600];
    char class_ = expected[0];

    for (size_t i = 0; i < countof(ours); i++) {
        if (strcmp(ours[i].file, d->file) == 0 && strstr(expected, ours[i].expected) == expected)
            class_ = ours[i].class_;
    }
    do {
        if (!take_line(d, line, sizeof line))
            fail_msg("%s:%u: no reply for %s", d->file, number, expected);
    } while (lines_before && line[3] == '-');
    if (class_ != 0 && line[0] != class_)
        fail_msg("%s:%u: %s for %s", d->file, number, line, expected);
    d->compared++;
}

static void play(struct dialogue *d, FILE *f)
{
    char *line = NULL;
    size_t size = 0;
    unsigned number = 0;

    while (getline(&line, &size, f) > 0) {
        number++;
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "c ", 2) != 0)
            continue;
        if (strncmp(line, "c tcp_connect", 13) == 0)
            connect_again(d);
        else if (strncmp(line, "c -> ", 5) == 0 || strcmp(line, "c ->") == 0) {
            send(d, line + 4 + (line[4] == ' '), strlen(line + 4 + (line[4] == ' ')));
            send(d, "\r\n", 2);
        } else if (strncmp(line, "c ~> ", 5) == 0)
            send_python(d, line + 5);
        else if (strncmp(line, "c <- ", 5) == 0 || strncmp(line, "c <~ ", 5) == 0)
            expect(d, line + 5, number, false);
        else if (strncmp(line, "c <... ", 7) == 0)
            expect(d, line + 7, number, true);
        if (d->server != NULL && buf_len(smtp_server_out(d->server)) > 0)
            send(d, "", 0); /* the greeting */
    }
    free(line);
}

static void test_dialogues(void **state)
{
    const char *root = getenv("DATA_DIR");
    struct dialogue d = { 0 };
    struct dirent *entry;
    char path[4096];
    DIR *dir;

    snprintf(path, sizeof path, "%s/dialogs-chasquid", root != NULL ? root : "");
    dir = opendir(path);
    if (dir == NULL) {
        printf("# skipped: no dialogues of chasquid in %s\n", path);
        return; /* cmocka's own skip() counts as a failure in TAP */
    }
    while ((entry = readdir(dir)) != NULL) {
        FILE *f;

        if (!slice_ends_nocase(slice_str(entry->d_name), SLICE(".cmy")))
            continue;
        snprintf(path, sizeof path, "%s/dialogs-chasquid/%s", root, entry->d_name);
        f = fopen(path, "r");
        assert_non_null(f);
        d.file = entry->d_name;
        play(&d, f);
        fclose(f);
    }
    closedir(dir);
    assert_true(d.compared > 30);
    smtp_server_free(d.server);
    buf_release(&d.out);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_dialogues) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
