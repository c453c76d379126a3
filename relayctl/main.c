/* relayctl/main.c - the command line of the admin's tool. */
#include "relayctl/tool.h"

#include "base/log.h"
#include "base/mem.h"
#include "queue/queue.h"

#include <curl/curl.h>

#include <getopt.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define DEFAULT_CONFIG "/etc/relayd/relayd.conf"

static const char usage[] =
    "usage: relayctl [-c FILE] [--json] COMMAND …\n"
    "\n"
    "  status                   how relayd is doing\n"
    "  queue                    what waits\n"
    "  show ID…                 a message, its recipients, their last replies\n"
    "  cat ID                   its content, as the next hop gets it\n"
    "  trace ID|ADDRESS|MESSAGE-ID  the life of a message, also when it is gone\n"
    "  retry ID…                an attempt now\n"
    "  hold ID…                 no attempts until released\n"
    "  release ID…              held no more\n"
    "  delete ID…               gone, and nobody is told\n"
    "  bounce ID…               gone, and the sender is told\n"
    "  user list                who can log in\n"
    "  user add ADDRESS         a new user; asks for the password\n"
    "  user show|set|passwd|disable|enable|delete ADDRESS\n"
    "  user app-password ADDRESS list|add NAME|delete NAME\n"
    "  bans [list]              whose logins failed, and who is refused\n"
    "  bans lift ADDRESS|USER   forget it\n"
    "  dkim [DOMAIN]            the DNS records of the keys mail is signed with\n"
    "  dkim check [DOMAIN]      does DNS have them?\n"
    "  salvage FOLDER           what waits in a damaged store, written to files\n"
    "  check [FILE]             is this configuration good?\n"
    "  reload                   the configuration is read again\n"
    "  stop                     what is under way is finished, then relayd ends\n"
    "\n"
    "  -c FILE    configuration of the relayd meant (default " DEFAULT_CONFIG ")\n"
    "  --json     for programs\n"
    "\n"
    "Instead of ids, and with queue, say what the messages are like:\n"
    "  --sender PATTERN  --recipient PATTERN  --domain DOMAIN  --older 2h  --newer 10m\n"
    "  --state queued|waiting|ready|active|deferred|held       --all\n"
    "Of a user (add, set):\n"
    "  --senders own,any,PATTERN…  --services smtp,imap,pop3|all|none\n"
    "  --messages-per-hour N|unlimited|default  --recipients-per-hour N|unlimited|default\n"
    "  --password-stdin  (add, passwd)  --no-password  (add)\n"
    "\n"
    "  --limit N  (queue, trace)   --yes  (delete, bounce: do not ask)\n"
    "\n"
    "See relayctl(8).\n";

enum { /* options, as bits of what a command takes */
    TAKES_FILTER = 1,
    TAKES_LIMIT = 2,
    TAKES_ALL = 4,
    TAKES_YES = 8,
    TAKES_USER = 16,
};

enum {
    OPTION_JSON = 256, OPTION_VERSION, OPTION_HELP, OPTION_LIMIT, OPTION_ALL, OPTION_YES,
    OPTION_PASSWORD_STDIN, OPTION_NO_PASSWORD, OPTION_SENDERS, OPTION_SERVICES, OPTION_MESSAGES, OPTION_RECIPIENTS,
    OPTION_SENDER, OPTION_RECIPIENT, OPTION_DOMAIN, OPTION_STATE, OPTION_OLDER, OPTION_NEWER,
};

static const struct option options[] = {
    { "config", required_argument, NULL, 'c' },
    { "json", no_argument, NULL, OPTION_JSON },
    { "version", no_argument, NULL, OPTION_VERSION },
    { "help", no_argument, NULL, OPTION_HELP },
    { "limit", required_argument, NULL, OPTION_LIMIT },
    { "all", no_argument, NULL, OPTION_ALL },
    { "yes", no_argument, NULL, OPTION_YES },
    { "password-stdin", no_argument, NULL, OPTION_PASSWORD_STDIN },
    { "no-password", no_argument, NULL, OPTION_NO_PASSWORD },
    { "senders", required_argument, NULL, OPTION_SENDERS },
    { "services", required_argument, NULL, OPTION_SERVICES },
    { "messages-per-hour", required_argument, NULL, OPTION_MESSAGES },
    { "recipients-per-hour", required_argument, NULL, OPTION_RECIPIENTS },
    { "sender", required_argument, NULL, OPTION_SENDER },
    { "recipient", required_argument, NULL, OPTION_RECIPIENT },
    { "domain", required_argument, NULL, OPTION_DOMAIN },
    { "state", required_argument, NULL, OPTION_STATE },
    { "older", required_argument, NULL, OPTION_OLDER },
    { "age", required_argument, NULL, OPTION_OLDER },
    { "newer", required_argument, NULL, OPTION_NEWER },
    { 0 },
};

static const struct {
    int option;
    const char *name;
} criteria[] = {
    { OPTION_SENDER, "sender" }, { OPTION_RECIPIENT, "recipient" }, { OPTION_DOMAIN, "domain" },
    { OPTION_STATE, "state" },   { OPTION_OLDER, "older" },         { OPTION_NEWER, "newer" },
};

/* As the API names them. */
static const struct {
    int option;
    const char *name;
} wishes[] = {
    { OPTION_SENDERS, "senders" },
    { OPTION_SERVICES, "services" },
    { OPTION_MESSAGES, "messages_per_hour" },
    { OPTION_RECIPIENTS, "recipients_per_hour" },
};

static const struct command {
    const char *name;
    int (*run)(struct tool *t);
    const char *order; /* instead of run */
    size_t args_min, args_max;
    unsigned takes;
    bool needs_settings;
} commands[] = {
    { "status", command_status, NULL, 0, 0, 0, true },
    { "queue", command_queue, NULL, 0, 0, TAKES_FILTER | TAKES_LIMIT, true },
    { "show", command_show, NULL, 1, SIZE_MAX, 0, true },
    { "salvage", command_salvage, NULL, 1, 1, 0, true },
    { "cat", command_cat, NULL, 1, 1, 0, true },
    { "trace", command_trace, NULL, 1, 1, TAKES_LIMIT, true },
    { "retry", NULL, "retry", 0, SIZE_MAX, TAKES_FILTER | TAKES_ALL | TAKES_YES, true },
    { "hold", NULL, "hold", 0, SIZE_MAX, TAKES_FILTER | TAKES_ALL | TAKES_YES, true },
    { "release", NULL, "release", 0, SIZE_MAX, TAKES_FILTER | TAKES_ALL | TAKES_YES, true },
    { "delete", NULL, "delete", 0, SIZE_MAX, TAKES_FILTER | TAKES_ALL | TAKES_YES, true },
    { "bounce", NULL, "bounce", 0, SIZE_MAX, TAKES_FILTER | TAKES_ALL | TAKES_YES, true },
    { "user", command_user, NULL, 1, 4, TAKES_USER, true },
    { "bans", command_bans, NULL, 0, 2, 0, true },
    { "dkim", command_dkim, NULL, 0, 2, 0, true },
    { "check", command_check, NULL, 0, 1, 0, false },
    { "reload", command_reload, NULL, 0, 0, 0, true },
    { "stop", command_stop, NULL, 0, 0, 0, true },
};

void tool_complain(const char *fmt, ...)
{
    va_list ap;

    fflush(stdout);
    fputs("relayctl: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}

bool tool_queue_id(const char *text, uint64_t *id)
{
    if (queue_id_parse(slice_str(text), id))
        return true;
    tool_complain("\"%s\" is no queue id: 16 hex digits, as \"queued as\" and relayctl queue show", text);
    return false;
}

/* A file that is just being edited must not hide the relayd that runs. */
int tool_settings(struct tool *t)
{
    struct diagnostics d = { 0 };
    struct err e = settings_load(t->config_path, &d, &t->settings);
    int exit_code = EX_OK;

    if (err_failed(e) && access(t->config_path, R_OK) != 0) {
        diagnostics_print(&d);
        exit_code = EX_CONFIG;
    } else if (err_failed(e)) {
        t->settings = settings_load_places(t->config_path);
        if (!t->json)
            tool_complain("%s has mistakes (see relayctl check); a relayd that runs goes on with what it has",
                          t->config_path);
    }
    diagnostics_release(&d);
    return exit_code;
}

void tool_release(struct tool *t)
{
    queue_close(t->source.queue);
    if (t->lock_fd >= 0)
        close(t->lock_fd);
    filter_release(&t->filter);
    settings_unref(t->settings);
}

/* ---- arguments ------------------------------------------------------------------------ */

static bool add_criterion(struct tool *t, const char *name, const char *value)
{
    const char *why = NULL;

    if (t->criterion_count == TOOL_CRITERIA_MAX || !filter_set(&t->filter, name, value, &why)) {
        tool_complain("--%s \"%s\": %s", name, value, why != NULL ? why : "said too often");
        return false;
    }
    t->criteria[t->criterion_count++] = (struct tool_criterion){ name, value };
    return true;
}

static bool add_wish(struct tool *t, const char *name, const char *value)
{
    if (t->wish_count == TOOL_WISHES_MAX) {
        tool_complain("an option for the user is said too often");
        return false;
    }
    t->wishes[t->wish_count++] = (struct tool_criterion){ name, value };
    return true;
}

static bool take_limit(struct tool *t, const char *value)
{
    if (slice_u64(slice_str(value), &t->limit) && t->limit > 0)
        return true;
    tool_complain("--limit \"%s\": not a number above 0", value);
    return false;
}

static bool take_option(struct tool *t, int option, unsigned *used)
{
    switch (option) {
    case 'c':
        t->config_path = optarg;
        return true;
    case OPTION_JSON:
        t->json = true;
        return true;
    case OPTION_LIMIT:
        *used |= TAKES_LIMIT;
        return take_limit(t, optarg);
    case OPTION_ALL:
        *used |= TAKES_ALL;
        t->all = true;
        return true;
    case OPTION_YES:
        *used |= TAKES_YES;
        t->yes = true;
        return true;
    case OPTION_PASSWORD_STDIN:
        *used |= TAKES_USER;
        t->password_stdin = true;
        return true;
    case OPTION_NO_PASSWORD:
        *used |= TAKES_USER;
        t->no_password = true;
        return true;
    default:
        break;
    }
    for (size_t i = 0; i < countof(wishes); i++) {
        if (wishes[i].option == option) {
            *used |= TAKES_USER;
            return add_wish(t, wishes[i].name, optarg);
        }
    }
    for (size_t i = 0; i < countof(criteria); i++) {
        if (criteria[i].option == option) {
            *used |= TAKES_FILTER;
            return add_criterion(t, criteria[i].name, optarg);
        }
    }
    return false; /* getopt has complained */
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < countof(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static int run(struct tool *t, const struct command *c, unsigned used)
{
    int exit_code;

    if ((used & ~c->takes) != 0) {
        tool_complain("an option that %s does not take; see relayctl --help", c->name);
        return EX_USAGE;
    }
    if (t->arg_count < c->args_min) {
        tool_complain("%s: of what? See relayctl --help", c->name);
        return EX_USAGE;
    }
    if (t->arg_count > c->args_max) {
        tool_complain("%s: \"%s\" is one argument too many", c->name, t->args[c->args_max]);
        return EX_USAGE;
    }
    exit_code = c->needs_settings ? tool_settings(t) : EX_OK;
    if (exit_code != EX_OK)
        return exit_code;
    return c->run != NULL ? c->run(t) : command_order(t, c->order);
}

static void find_terminal(struct tool *t)
{
    const char *term = getenv("TERM");
    struct winsize size;

    if (!isatty(STDOUT_FILENO))
        return;
    t->color = term != NULL && strcmp(term, "dumb") != 0 && getenv("NO_COLOR") == NULL;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 80)
        t->line_max = size.ws_col;
}

int main(int argc, char **argv)
{
    struct tool t = { .config_path = DEFAULT_CONFIG, .lock_fd = -1 };
    const struct command *command;
    unsigned used = 0;
    int option, exit_code;

    setlocale(LC_TIME, "");
    log_open("localhost", LOG_LEVEL_WARNING);
    while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
        if (option == 'h' || option == OPTION_HELP) {
            fputs(usage, stdout);
            return EX_OK;
        }
        if (option == OPTION_VERSION) {
            printf("relayctl %s\n", RELAYD_VERSION);
            return EX_OK;
        }
        if (!take_option(&t, option, &used)) {
            tool_release(&t);
            return EX_USAGE;
        }
    }
    if (optind == argc) {
        fputs(usage, stderr);
        return EX_USAGE;
    }
    command = find_command(argv[optind]);
    if (command == NULL) {
        tool_complain("there is no command \"%s\"; see relayctl --help", argv[optind]);
        tool_release(&t);
        return EX_USAGE;
    }
    t.args = argv + optind + 1;
    t.arg_count = (size_t)(argc - optind - 1);
    find_terminal(&t);
    curl_global_init(CURL_GLOBAL_NOTHING);
    exit_code = run(&t, command, used);
    tool_release(&t);
    curl_global_cleanup();
    if ((fflush(stdout) != 0 || ferror(stdout)) && exit_code == EX_OK) {
        tool_complain("the output could not be written");
        exit_code = EX_IOERR;
    }
    return exit_code;
}
