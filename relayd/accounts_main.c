/* relayd/accounts_main.c - the accounts process: settings in, links in,
 * auth/accounts_server.h does the rest. */
#include "relayd/accounts_main.h"

#include "auth/password.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/digest.h"
#include "relayd/helper.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#define LOCK_WAIT_MS 5000u /* a predecessor may still be ending, or relayctl be at work */

static struct accounts_config config_of(const struct settings *st)
{
    return (struct accounts_config){
        .domain = st->accounts.domain,
        .file = st->accounts.file,
        .command = st->accounts.command,
        .command_timeout_ms = st->accounts.command_timeout_ms,
        .command_processes = st->accounts.command_processes,
        .messages_per_hour = st->accounts.messages_per_hour,
        .recipients_per_hour = st->accounts.recipients_per_hour,
    };
}

struct accounts_process {
    struct helper *helper;
    struct accounts_server *server;
    struct buf opens; /* what it was confined to: other settings need another process */
};

/* The folder of the file, for a file that is replaced is another one. */
static void file_folder(const struct settings *st, struct buf *out)
{
    struct slice path = slice_str(st->accounts.file);

    while (path.len > 1 && path.ptr[path.len - 1] != '/')
        path.len--;
    buf_add(out, path);
}

/* Where it reads besides its own folder; "*" when it runs programs. */
static struct buf opens_of(const struct settings *st)
{
    struct buf out = { 0 };

    if (st->accounts.command != NULL)
        buf_add_byte(&out, '*');
    else if (st->accounts.file != NULL)
        file_folder(st, &out);
    return out;
}

/* What the libraries look up when they are first used. */
static void warm_up(void)
{
    uint8_t digest[DIGEST_BYTES];
    const struct slice part = SLICE("warm-up");

    password_pretend(part);
    digest_hmac(part, &part, 1, digest);
}

/* Before it has threads, which Landlock would not reach any more. */
static struct err confine(const struct helper *h, const struct settings *st, struct buf *opens,
                          struct buf *why)
{
    struct buf own = { 0 };
    struct sandbox_path paths[2] = { { NULL, true }, { buf_cstr(opens), false } };
    struct sandbox_rules rules = { .paths = paths, .path_count = 1 };
    struct stat found;
    struct err e;

    warm_up();
    buf_printf(&own, "%s/accounts", st->state_dir);
    paths[0].path = buf_cstr(&own);
    rules.programs = st->accounts.command != NULL;
    if (!rules.programs && buf_len(opens) > 0 && stat(paths[1].path, &found) == 0)
        rules.path_count = 2;
    e = helper_confine(h, &rules, why);
    buf_release(&own);
    return e;
}

static void unlinked(void *ctx)
{
    helper_unlinked(ctx);
}

static bool linked(const void *server)
{
    const struct accounts_process *p = server;

    return accounts_server_linked(p->server);
}

static void release(void *server)
{
    struct accounts_process *p = server;

    accounts_server_free(p->server);
    buf_release(&p->opens);
    free(p);
}

static struct err start(struct helper *h, struct loop *l, const struct settings *st, void **server, int *exit_code,
                        struct buf *why)
{
    struct accounts_config c = config_of(st);
    struct accounts_process *p = mem_new(struct accounts_process);
    char text[256];
    struct err e;

    p->helper = h;
    p->opens = opens_of(st);
    e = confine(h, st, &p->opens, why);
    if (err_failed(e)) {
        release(p);
        return e;
    }
    e = accounts_server_new(l, st->state_dir, &c, 0, LOCK_WAIT_MS, &p->server);
    if (err_failed(e)) {
        release(p);
        buf_printf(why, "the users in %s/accounts: %s", st->state_dir, err_text(e, text, sizeof text));
        if (e.kind == ERR_BUSY)
            *exit_code = EX_TEMPFAIL;
        else if (e.kind == ERR_VERSION || (e.kind == ERR_SYSTEM && e.sys != 0))
            *exit_code = process_exit_code(e, EX_CANTCREAT);
        return e;
    }
    accounts_server_when_unlinked(p->server, unlinked, h);
    *server = p;
    log_info("accounts", "ready");
    return ERR_OK;
}

static struct err reload(void *server, const struct settings *st, struct buf *why)
{
    struct accounts_process *p = server;
    struct accounts_config c = config_of(st);
    struct buf opens = opens_of(st);

    accounts_server_configure(p->server, &c);
    if (!slice_eq(buf_bytes(&opens), buf_bytes(&p->opens)))
        helper_finish(p->helper); /* no way out of a sandbox: another begins in its own */
    buf_release(&opens);
    return ERR_OK;
}

static void take_link(void *server, enum process_kind peer, unsigned index, int fd)
{
    struct accounts_process *p = server;

    if (peer == PROCESS_ENGINE)
        accounts_server_link(p->server, fd);
    else
        close(fd); /* nobody else asks yet */
}

int accounts_main(int channel_fd)
{
    static const struct helper_ops ops = {
        .name = "accounts",
        .start = start,
        .reload = reload,
        .link = take_link,
        .linked = linked,
        .free = release,
    };

    return helper_main(channel_fd, &ops);
}
