/* relayctl/password.c - a password from whoever is there to give it. */
#include "relayctl/password.h"

#include "base/secret.h"
#include "relayctl/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define PASSWORD_LINE_MAX 1024u

/* What may end or stop us while the terminal shows nothing. */
static const int leaving[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP };
static volatile sig_atomic_t left_by; /* which of them came; 0: none */

static void on_leaving(int number)
{
    left_by = number;
}

struct caught {
    struct sigaction actions[countof(leaving)]; /* as they were */
    sigset_t mask;
};

/* They come while we wait for a key and at no other time, so that none is missed
 * just before. What is ignored stays so (nohup). */
static void catch_leaving(struct caught *before)
{
    struct sigaction catch = { .sa_handler = on_leaving };
    sigset_t blocked;

    sigemptyset(&catch.sa_mask);
    sigemptyset(&blocked);
    for (size_t i = 0; i < countof(leaving); i++)
        sigaddset(&blocked, leaving[i]);
    sigprocmask(SIG_BLOCK, &blocked, &before->mask);
    left_by = 0;
    for (size_t i = 0; i < countof(leaving); i++) {
        sigaction(leaving[i], NULL, &before->actions[i]);
        if (before->actions[i].sa_handler != SIG_IGN)
            sigaction(leaving[i], &catch, NULL);
    }
}

static void release_leaving(const struct caught *before)
{
    for (size_t i = 0; i < countof(leaving); i++)
        sigaction(leaving[i], &before->actions[i], NULL);
    sigprocmask(SIG_SETMASK, &before->mask, NULL);
}

/* One line, without its end; false at the end of the file, when it is too long, and
 * when one of leaving[] came, as far as `mask` lets them; NULL: none is looked for. */
static bool read_line(int fd, const sigset_t *mask, struct buf *out)
{
    struct pollfd ready = { .fd = fd, .events = POLLIN };
    char c;

    buf_reserve(out, PASSWORD_LINE_MAX + 1);
    for (;;) {
        ssize_t n;

        if (mask != NULL && ppoll(&ready, 1, NULL, mask) < 0 && left_by != 0)
            return false;
        n = read(fd, &c, 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return buf_len(out) != 0;
        if (c == '\n')
            break;
        if (buf_len(out) == PASSWORD_LINE_MAX)
            return false;
        buf_add_byte(out, c);
    }
    if (buf_len(out) != 0 && out->ptr[out->end - 1] == '\r')
        out->end--;
    return true;
}

static bool prompt_once(int tty, const char *text, const char *user, struct buf *out)
{
    struct caught signals;
    struct termios before, quiet;
    bool good;

    if (tcgetattr(tty, &before) != 0)
        return false;
    quiet = before;
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    catch_leaving(&signals);
    /* The prompt last: whoever answers it at once must not be shown nor lost. */
    if (tcsetattr(tty, TCSAFLUSH, &quiet) != 0) {
        release_leaving(&signals);
        return false;
    }
    dprintf(tty, "%s%s: ", text, user);
    good = read_line(tty, &signals.mask, out);
    tcsetattr(tty, TCSAFLUSH, &before);
    dprintf(tty, "\n");
    release_leaving(&signals);
    return good;
}

/* A signal does to us what it would have done, once the terminal shows again what
 * is typed: we end by it, or stop and ask anew when we go on. */
static bool prompt(int tty, const char *text, const char *user, struct buf *out)
{
    for (;;) {
        bool good = prompt_once(tty, text, user, out);
        int number = left_by;

        left_by = 0;
        if (number == 0)
            return good;
        buf_wipe(out);
        raise(number);
    }
}

static int ask_person(const char *user, struct buf *out)
{
    int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    struct buf again = { 0 };
    bool good;
    int exit_code = EX_OK;

    if (tty < 0) {
        tool_complain("there is no terminal to ask for the password: give it by --password-stdin");
        return EX_USAGE;
    }
    good = prompt(tty, "New password for ", user, out) && prompt(tty, "Once more, for ", user, &again);
    if (!good) {
        tool_complain("no password was given");
        exit_code = EX_DATAERR;
    } else if (!slice_eq(buf_bytes(out), buf_bytes(&again))) {
        tool_complain("the two are not the same; nothing was changed");
        exit_code = EX_DATAERR;
    }
    buf_wipe(&again);
    close(tty);
    return exit_code;
}

int password_ask(bool from_stdin, const char *user, struct buf *out)
{
    if (!from_stdin)
        return ask_person(user, out);
    if (read_line(STDIN_FILENO, NULL, out))
        return EX_OK;
    tool_complain("--password-stdin: a line with the password is to come from standard input, of 1,024 bytes at most");
    return EX_DATAERR;
}
