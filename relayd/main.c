/* relayd/main.c - the command line. Every process of the tree begins here. */
#include "base/log.h"
#include "relayd/child.h"
#include "relayd/kinds.h"
#include "relayd/parent.h"
#include "relayd/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#define DEFAULT_CONFIG "/etc/relayd/relayd.conf"

static const char usage[] = "usage: relayd [-n] [-c FILE]\n"
                            "       relayd --version | --help\n"
                            "\n"
                            "  -c FILE    configuration (default " DEFAULT_CONFIG ")\n"
                            "  -n         check the configuration, then exit: 0 good, 78 not\n"
                            "  --version  show the version\n"
                            "  --help     show this\n"
                            "\n"
                            "Runs in the foreground and logs to standard error. SIGTERM finishes\n"
                            "what is under way and stops; SIGHUP reads the configuration again.\n";

/* A file opened later must not become standard error. */
static bool open_standard_descriptors(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd < 0)
        return false;
    close(fd);
    return true;
}

static int check_config(const char *path)
{
    if (!settings_check(path))
        return EX_CONFIG;
    printf("%s: good\n", path);
    return EX_OK;
}

static const struct process_kind_info *find_kind(const char *title)
{
    for (size_t i = 0; i < countof(process_kinds); i++)
        if (process_kinds[i].main != NULL && strcmp(title, process_kinds[i].title) == 0)
            return &process_kinds[i];
    return NULL;
}

static int run_child(const struct process_kind_info *kind)
{
    const char *title = kind->title;
    struct stat st;
    int rc = fstat(CHANNEL_CHILD_FD, &st);

    if (rc != 0 && errno != EBADF)
        return EX_OSERR;
    if (rc != 0 || !S_ISSOCK(st.st_mode)) {
        fprintf(stderr, "%s: is started by relayd only\n", title);
        return EX_USAGE;
    }
    child_begin(title);
    return kind->main(CHANNEL_CHILD_FD);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "version", no_argument, NULL, 'V' },
        { "help", no_argument, NULL, 'h' },
        { 0 },
    };
    const char *config = DEFAULT_CONFIG;
    bool check_only = false;
    int option;

    umask(077);
    if (!open_standard_descriptors())
        return EX_OSERR;
    if (argc > 0 && find_kind(argv[0]) != NULL)
        return run_child(find_kind(argv[0]));

    while ((option = getopt_long(argc, argv, "c:nh", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            config = optarg;
            break;
        case 'n':
            check_only = true;
            break;
        case 'V':
            printf("relayd %s\n", RELAYD_VERSION);
            return EX_OK;
        case 'h':
            fputs(usage, stdout);
            return EX_OK;
        default:
            fputs(usage, stderr);
            return EX_USAGE;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "relayd: unexpected argument \"%s\"\n%s", argv[optind], usage);
        return EX_USAGE;
    }
    return check_only ? check_config(config) : parent_main(config);
}
