/* relayd/accounts_main.c - the accounts process: settings in, links in,
 * auth/accounts_server.h does the rest. */
#include "relayd/accounts_main.h"

#include "base/log.h"
#include "relayd/helper.h"

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

static struct err start(struct helper *h, struct loop *l, const struct settings *st, void **server, int *exit_code,
                        struct buf *why)
{
    struct accounts_config c = config_of(st);
    struct accounts_server *s;
    char text[256];
    struct err e = accounts_server_new(l, st->state_dir, &c, 0, LOCK_WAIT_MS, &s);

    if (err_failed(e)) {
        buf_printf(why, "the users in %s/accounts: %s", st->state_dir, err_text(e, text, sizeof text));
        if (e.kind == ERR_BUSY)
            *exit_code = EX_TEMPFAIL;
        else if (e.kind == ERR_VERSION || e.kind == ERR_SYSTEM)
            *exit_code = EX_CANTCREAT;
        return e;
    }
    *server = s;
    log_info("accounts", "ready");
    return ERR_OK;
}

static struct err reload(void *server, const struct settings *st, struct buf *why)
{
    struct accounts_config c = config_of(st);

    accounts_server_configure(server, &c);
    return ERR_OK;
}

static void take_link(void *server, enum process_kind peer, unsigned index, int fd)
{
    if (peer == PROCESS_ENGINE)
        accounts_server_link(server, fd);
    else
        close(fd); /* nobody else asks yet */
}

static void release(void *server)
{
    accounts_server_free(server);
}

int accounts_main(int channel_fd)
{
    static const struct helper_ops ops = {
        .name = "accounts",
        .start = start,
        .reload = reload,
        .link = take_link,
        .free = release,
    };

    return helper_main(channel_fd, &ops);
}
