/* relayctl/password.c - a password from whoever is there to give it. */
#include "relayctl/password.h"

#include "base/secret.h"
#include "relayctl/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define PASSWORD_LINE_MAX 1024u

/* One line, without its end; false at the end of the file and when it is too long. */
static bool read_line(int fd, struct buf *out)
{
    char c;

    buf_reserve(out, PASSWORD_LINE_MAX + 1);
    for (;;) {
        ssize_t n = read(fd, &c, 1);

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

static bool prompt(int tty, const char *text, const char *user, struct buf *out)
{
    struct termios before, quiet;
    bool good;

    if (tcgetattr(tty, &before) != 0)
        return false;
    quiet = before;
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    /* The prompt last: whoever answers it at once must not be shown nor lost. */
    if (tcsetattr(tty, TCSAFLUSH, &quiet) != 0)
        return false;
    dprintf(tty, "%s%s: ", text, user);
    good = read_line(tty, out);
    tcsetattr(tty, TCSAFLUSH, &before);
    dprintf(tty, "\n");
    return good;
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
    if (read_line(STDIN_FILENO, out))
        return EX_OK;
    tool_complain("--password-stdin: a line with the password is to come from standard input, of 1,024 bytes at most");
    return EX_DATAERR;
}
