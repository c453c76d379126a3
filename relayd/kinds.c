/* relayd/kinds.c - which processes there are, and which of them a
 * configuration needs: none idles beside mail that never asks it. */
#include "relayd/kinds.h"

#include "relayd/accounts_main.h"
#include "relayd/engine.h"
#include "relayd/settings_dkim.h"
#include "relayd/sign_main.h"

#include <sysexits.h>
#include <unistd.h>

/* A kind without a main() is of a later release and never wanted. */
const struct process_kind_info process_kinds[PROCESS_KINDS] = {
    [PROCESS_ENGINE] = { "engine", ENGINE_TITLE, engine_main },
    [PROCESS_ACCOUNTS] = { "accounts", ACCOUNTS_TITLE, accounts_main },
    [PROCESS_SIGN] = { "sign", SIGN_TITLE, sign_main },
};

int process_exit_code(struct err e, int otherwise)
{
    return err_may_pass(e) ? EX_OSERR : otherwise;
}

/* Where a client can log in there are users. */
static bool wants_accounts(const struct settings *s)
{
    for (size_t i = 0; i < s->listen_count; i++)
        if (s->listens[i].login != SETTINGS_LOGIN_NONE)
            return true;
    return false;
}

/* Two at least, so that the death of one is no pause. */
static unsigned sign_workers(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    if (cores <= 2)
        return 2;
    return cores < 8 ? (unsigned)cores : 8;
}

unsigned processes_wanted(enum process_kind kind, const struct settings *s)
{
    if (process_kinds[kind].main == NULL)
        return 0;
    switch (kind) {
    case PROCESS_ENGINE:
        return 1;
    case PROCESS_ACCOUNTS:
        return wants_accounts(s) ? 1 : 0;
    case PROCESS_SIGN:
        return settings_has_dkim(s) ? sign_workers() : 0;
    default:
        return 0;
    }
}

const char *process_user(enum process_kind kind, const struct settings *s)
{
    switch (kind) {
    case PROCESS_ACCOUNTS:
        return s->accounts_user;
    case PROCESS_SIGN:
        return s->sign_user;
    default:
        return s->engine_user;
    }
}
