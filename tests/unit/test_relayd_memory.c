/* Memory runs out at the N-th allocation, for N = 1… until all goes well: of
 * our own code, which then ends the process and says so, and of the libraries
 * it calls, after which the answer is right, an error that blames nothing but
 * memory, or the end of the process; never a wild access, never a verdict on
 * what was asked.
 *
 * Each N is a process of its own. Not under a sanitizer, whose malloc
 * ours would replace.
 */
#include "tests/unit/check.h"

#include "auth/sasl.h"
#include "base/hash.h"
#include "base/mem.h"
#include "mail/dsn.h"
#include "mail/path.h"
#include "net/keypair.h"
#include "relayd/settings.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

enum { RIGHT = 0, HONEST = 10, WRONG = 11 }; /* what a case exits with */

static struct {
    bool armed, libraries;
    unsigned left;
    bool failed;
} fault;

extern char __executable_start, etext;

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *ptr, size_t size);

static bool fails(const void *caller)
{
    bool ours = (const char *)caller >= &__executable_start && (const char *)caller < &etext;

    if (!fault.armed || ours == fault.libraries || fault.left-- != 1)
        return false;
    fault.failed = true;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *ptr, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_realloc(ptr, size);
}

void *reallocarray(void *ptr, size_t count, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_realloc(ptr, count * size);
}

/* libcrypt's way to memory. */
void *map(void *at, size_t len, int prot, int flags, int fd, off_t offset) __asm__("mmap");
void *map(void *at, size_t len, int prot, int flags, int fd, off_t offset)
{
    if (fails(__builtin_return_address(0)))
        return MAP_FAILED;
    return (void *)syscall(SYS_mmap, at, len, prot, flags, fd, offset);
}

/* ---- cases ------------------------------------------------------------------------------- */

static int convert_domain(void)
{
    char out[MAIL_DOMAIN_MAX + 1];

    return mail_domain_to_ascii(SLICE("bücher.example"), out) && strcmp(out, "xn--bcher-kva.example") == 0 ? RIGHT
                                                                                                            : WRONG;
}

static void keys_of(void *ctx, const char *authid, struct scram_keys *out)
{
    memset(out, 0, sizeof *out);
    out->iterations = 4096;
}

static int log_in(const char *mechanism, struct slice response, enum sasl_state good)
{
    struct sasl *sasl;
    struct sasl_session *session = NULL;
    struct sasl_step step;

    if (err_failed(sasl_new(&sasl)))
        return HONEST;
    if (err_failed(sasl_begin(sasl, sasl_mechanism(mechanism), SLICE_EMPTY, NULL, keys_of, NULL, &session)))
        return HONEST; /* TEMPFAIL */
    sasl_step(session, response, true, &step);
    return step.state == good ? RIGHT : step.state == SASL_UNABLE ? HONEST : WRONG;
}

static int log_in_plain(void)
{
    return log_in("PLAIN", SLICE("\0joe\0pencil"), SASL_VERIFY);
}

static int log_in_scram(void)
{
    return log_in("SCRAM-SHA-256", SLICE("n,,n=joe,r=fyko+d2lbbFgONRv9qkxdawL"), SASL_CHALLENGE);
}

static char hash[PASSWORD_HASH_MAX];

static int check_password(void)
{
    return password_verify(SLICE("pencil"), hash) ? RIGHT : WRONG;
}

static struct buf pem;

static int read_key(void)
{
    struct keypair_public pub;
    struct err e = keypair_read(buf_bytes(&pem), &pub);

    if (!err_failed(e))
        return RIGHT;
    return e.sys == ENOMEM ? HONEST : WRONG;
}

static int read_configuration(void)
{
    static const char text[] = "hostname mx.example.com\nlisten 127.0.0.1:25\ntrusted 127.0.0.0/8\n"
                               "domain example.com { relay }\n"
                               "smarthost s { host 192.0.2.1:25; tls none }\nroute default via s\n";
    struct bundle *b = bundle_new("relayd.conf");
    struct diagnostics d = { 0 };
    struct settings *s = NULL;

    if (err_failed(bundle_add(b, BUNDLE_FILE, "/relayd.conf", slice_str(text), NULL)))
        return WRONG;
    return err_failed(settings_load_bundle(b, &d, &s)) ? WRONG : RIGHT;
}

static int write_notice(void)
{
    struct mail_dsn_recipient r = { .final_recipient = SLICE("b@example.net"), .code = 550, .status = { 5, 1, 1 },
                                    .reply_text = SLICE("nobody of that name") };
    struct mail_dsn dsn = { .action = MAIL_DSN_FAILED, .reporting_mta = "mx.example.com", .queue_id = "1",
                            .dsn_id = "2", .sender = SLICE("a@example.com"), .recipients = &r, .recipient_count = 1,
                            .original_header = SLICE("Subject: x\r\n\r\n") };
    struct buf header = { 0 }, body = { 0 };

    mail_dsn_format(&dsn, &header, &body);
    return buf_len(&header) > 0 && buf_len(&body) > 0 ? RIGHT : WRONG;
}

struct item {
    unsigned id;
    UT_hash_handle hh;
};

static int fill_table(void)
{
    struct item *table = NULL, *found;

    for (unsigned i = 0; i < 400; i++) {
        struct item *it = mem_new(struct item);

        it->id = i;
        HASH_ADD(hh, table, id, sizeof it->id, it);
    }
    for (unsigned i = 0; i < 400; i++) {
        HASH_FIND(hh, table, &i, sizeof i, found);
        if (found == NULL)
            return WRONG;
    }
    return RIGHT;
}

/* ---- the loop ---------------------------------------------------------------------------- */

struct outcome {
    bool failed; /* an allocation did */
    int status;
    char said[256]; /* on standard error */
};

/* The case's exit code says also whether the N-th allocation came. */
static struct outcome run(int (*test)(void), bool libraries, unsigned n)
{
    struct outcome o = { 0 };
    int ends[2];
    pid_t pid;

    assert_int_equal(pipe(ends), 0);
    pid = fork();
    if (pid == 0) {
        int code;

        dup2(ends[1], STDERR_FILENO);
        signal(SIGABRT, SIG_DFL); /* cmocka's would go on in here */
        signal(SIGSEGV, SIG_DFL);
        fault.libraries = libraries;
        fault.left = n;
        fault.armed = true;
        code = test();
        fault.armed = false;
        _exit(fault.failed ? code : 100 + code);
    }
    close(ends[1]);
    assert_true(read(ends[0], o.said, sizeof o.said - 1) >= 0);
    close(ends[0]);
    assert_int_equal(waitpid(pid, &o.status, 0), pid);
    o.failed = !WIFEXITED(o.status) || WEXITSTATUS(o.status) < 100;
    return o;
}

static bool ended_honestly(const struct outcome *o)
{
    return WIFSIGNALED(o->status) && WTERMSIG(o->status) == SIGABRT &&
           strstr(o->said, "fatal: out of memory") != NULL;
}

static void play(const char *name, int (*test)(void), bool libraries, unsigned at_least)
{
    unsigned n = 0, ended = 0;
    struct outcome o;

    while ((o = run(test, libraries, n + 1)).failed) {
        bool good = ended_honestly(&o);

        n++;
        ended += good;
        if (libraries && WIFEXITED(o.status))
            good = WEXITSTATUS(o.status) == RIGHT || WEXITSTATUS(o.status) == HONEST;
        if (!good)
            fail_msg("%s, %s allocation %u: %s %d: %s", name, libraries ? "a library's" : "our", n,
                     WIFSIGNALED(o.status) ? "signal" : "exit code",
                     WIFSIGNALED(o.status) ? WTERMSIG(o.status) : WEXITSTATUS(o.status), o.said);
    }
    assert_int_equal(WEXITSTATUS(o.status), 100 + RIGHT);
    assert_true(n >= at_least);
    print_message("# %s: %u allocations of %s, %u ended the process\n", name, n, libraries ? "libraries" : "ours",
                  ended);
}

static void test_36_our_allocations(void **state)
{
    play("convert a domain", convert_domain, false, 0);
    play("log in", log_in_plain, false, 3);
    play("read a key", read_key, false, 1);
    play("read a configuration", read_configuration, false, 20);
    play("write a notice", write_notice, false, 5);
    play("fill a table", fill_table, false, 400);
}

static void test_36_allocations_of_libraries(void **state)
{
    play("convert a domain", convert_domain, true, 1);
    play("log in by PLAIN", log_in_plain, true, 3);
    play("log in by SCRAM", log_in_scram, true, 3);
    play("check a password", check_password, true, 1);
    play("read a key", read_key, true, 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_36_our_allocations),
        cmocka_unit_test(test_36_allocations_of_libraries),
    };

    if (err_failed(keypair_generate(KEYPAIR_ED25519, 0, &pem)) || err_failed(password_hash(SLICE("pencil"), hash)))
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void)
{
    puts("1..0 # SKIP the sanitizer has a malloc of its own");
    return 0;
}

#endif
