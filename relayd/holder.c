/* relayd/holder.c - reads /proc to find who holds a port or a lock. */
#include "relayd/holder.h"

#include <ctype.h>
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define TCP_STATE_LISTEN 0x0a

static void describe(pid_t pid, struct buf *out)
{
    char path[64];
    char name[64] = "";
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
    f = fopen(path, "re");
    if (f != NULL) {
        if (fgets(name, sizeof name, f) != NULL)
            name[strcspn(name, "\n")] = '\0';
        fclose(f);
    }
    buf_printf(out, "pid %d", (int)pid);
    if (name[0] != '\0')
        buf_printf(out, " (%s)", name);
}

/* ---- ports ---- */

/* One line of /proc/net/tcp or tcp6: the kernel prints addresses as 32-bit
 * words in its own byte order. */
static bool parse_socket_line(const char *line, bool v6, struct net_addr *addr, unsigned *state,
                              uint64_t *inode)
{
    uint32_t words[4] = { 0 };
    unsigned port;
    int at = 0;
    size_t word_count = v6 ? 4 : 1;

    if (sscanf(line, " %*d: %n", &at) < 0 || at == 0)
        return false;
    for (size_t i = 0; i < word_count; i++, at += 8)
        if (sscanf(line + at, "%8" SCNx32, &words[i]) != 1)
            return false;
    if (sscanf(line + at, ":%x %*[0-9A-Fa-f]:%*x %x %*x:%*x %*x:%*x %*x %*u %*u %" SCNu64, &port,
               state, inode) != 3)
        return false;
    *addr = (struct net_addr){ .family = v6 ? AF_INET6 : AF_INET, .port = (uint16_t)port };
    memcpy(addr->bytes, words, word_count * sizeof words[0]);
    return true;
}

static bool stands_in_the_way(const struct net_addr *held, const struct net_addr *wanted)
{
    if (held->port != wanted->port)
        return false;
    return net_addr_is_unspecified(held) || net_addr_is_unspecified(wanted) ||
           net_addr_equal_host(held, wanted);
}

/* The inode of the socket that listens where we want to, or 0. */
static uint64_t find_listener(const char *table, bool v6, const struct net_addr *wanted)
{
    FILE *f = fopen(table, "re");
    char line[512];
    uint64_t found = 0;

    if (f == NULL)
        return 0;
    while (found == 0 && fgets(line, sizeof line, f) != NULL) {
        struct net_addr held;
        unsigned state;
        uint64_t inode;

        if (parse_socket_line(line, v6, &held, &state, &inode) && state == TCP_STATE_LISTEN &&
            stands_in_the_way(&held, wanted))
            found = inode;
    }
    fclose(f);
    return found;
}

static bool has_descriptor(pid_t pid, const char *target)
{
    char path[64];
    DIR *dir;
    bool found = false;

    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    dir = opendir(path);
    if (dir == NULL)
        return false;
    for (struct dirent *d; !found && (d = readdir(dir)) != NULL;) {
        char link[128];
        ssize_t n = readlinkat(dirfd(dir), d->d_name, link, sizeof link - 1);

        if (n <= 0)
            continue;
        link[n] = '\0';
        found = strcmp(link, target) == 0;
    }
    closedir(dir);
    return found;
}

/* A listening socket may be held by several processes: the lowest pid is the
 * parent of the rest, mostly. */
static pid_t find_process(const char *target)
{
    DIR *proc = opendir("/proc");
    pid_t lowest = 0;

    if (proc == NULL)
        return 0;
    for (struct dirent *d; (d = readdir(proc)) != NULL;) {
        pid_t pid = isdigit((unsigned char)d->d_name[0]) ? (pid_t)atoi(d->d_name) : 0;

        if (pid > 0 && (lowest == 0 || pid < lowest) && has_descriptor(pid, target))
            lowest = pid;
    }
    closedir(proc);
    return lowest;
}

bool holder_of_port(const struct net_addr *addr, struct buf *out)
{
    char target[64];
    uint64_t inode = find_listener("/proc/net/tcp", false, addr);
    pid_t pid;

    if (inode == 0)
        inode = find_listener("/proc/net/tcp6", true, addr);
    if (inode == 0)
        return false;
    snprintf(target, sizeof target, "socket:[%" PRIu64 "]", inode);
    pid = find_process(target);
    if (pid == 0)
        return false;
    describe(pid, out);
    return true;
}

/* ---- locks ---- */

/* /proc/locks: "1: FLOCK  ADVISORY  WRITE 4711 08:01:123456 0 EOF" */
static pid_t find_lock(const struct stat *st)
{
    FILE *f = fopen("/proc/locks", "re");
    char line[256];
    pid_t found = 0;

    if (f == NULL)
        return 0;
    while (found == 0 && fgets(line, sizeof line, f) != NULL) {
        int pid;
        unsigned major, minor;
        uint64_t inode;

        /* those that wait have "->" before FLOCK and are not matched */
        if (sscanf(line, "%*d: FLOCK %*s %*s %d %x:%x:%" SCNu64, &pid, &major, &minor, &inode) ==
                4 &&
            inode == st->st_ino && major == major(st->st_dev) && minor == minor(st->st_dev))
            found = pid;
    }
    fclose(f);
    return found;
}

/* What the holder wrote into the file. */
static pid_t read_pid(int fd)
{
    char text[32];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    uint64_t pid;

    if (n <= 0)
        return 0;
    if (!slice_u64(
            slice_head(slice_make(text, (size_t)n), slice_find(slice_make(text, (size_t)n), '\n')),
            &pid) ||
        pid > INT32_MAX)
        return 0;
    return (pid_t)pid;
}

bool holder_of_lock(int fd, pid_t *pid, struct buf *out)
{
    struct stat st;
    pid_t found = 0;

    if (fstat(fd, &st) == 0)
        found = find_lock(&st);
    if (found <= 0)
        found = read_pid(fd); /* in a container /proc/locks may not show it */
    if (pid != NULL)
        *pid = found;
    if (found <= 0)
        return false;
    describe(found, out);
    return true;
}
