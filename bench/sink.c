/* bench/sink.c - the far end of a benchmark: an SMTP server on epoll that
 * counts what arrives and answers at once.
 *
 *     sink [--check] [--record FILE] [ADDRESS:]PORT
 *
 * PORT 0 takes a free one. Prints "listening PORT", then a line of JSON with
 * its counts for every line read from standard input, and once more when that
 * ends, which stops it.
 */
#include "base/mem.h"
#include "bench/sink_session.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_MAX 64
#define READ_BYTES 65536u
#define LISTEN_MAX 4096

struct connection {
    struct sink_session session;
    int fd;
    bool writing; /* waits for room to write */
};

struct sink {
    struct sink_shared shared;
    int epoll, listener;
    char *input;
};

static void fatal(const char *what)
{
    fprintf(stderr, "sink: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void watch(struct sink *k, int fd, int op, uint32_t events, void *ptr)
{
    struct epoll_event ev = { .events = events, .data.ptr = ptr };

    if (epoll_ctl(k->epoll, op, fd, &ev) != 0)
        fatal("epoll_ctl");
}

static void connection_close(struct connection *c)
{
    close(c->fd);
    sink_session_release(&c->session);
    free(c);
}

/* Writes what it can; false when the connection is gone. */
static bool connection_flush(struct sink *k, struct connection *c)
{
    struct buf *out = &c->session.out;

    while (buf_len(out) > 0) {
        struct slice bytes = buf_bytes(out);
        ssize_t n = send(c->fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);

        if (n > 0) {
            buf_take(out, (size_t)n);
        } else if (errno == EAGAIN) {
            if (!c->writing)
                watch(k, c->fd, EPOLL_CTL_MOD, EPOLLOUT, c);
            c->writing = true;
            return true;
        } else if (errno != EINTR) {
            return false;
        }
    }
    if (c->writing)
        watch(k, c->fd, EPOLL_CTL_MOD, EPOLLIN, c);
    c->writing = false;
    return c->session.phase != SINK_CLOSING;
}

static bool connection_read(struct sink *k, struct connection *c)
{
    ssize_t n = recv(c->fd, k->input, READ_BYTES, 0);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    if (n == 0)
        return false;
    sink_session_feed(&c->session, slice_make(k->input, (size_t)n), now_ns());
    return true;
}

static void connection_ready(struct sink *k, struct connection *c)
{
    if ((!c->writing && !connection_read(k, c)) || !connection_flush(k, c))
        connection_close(c);
}

static void accept_all(struct sink *k)
{
    int fd, on = 1;

    while ((fd = accept4(k->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct connection *c = mem_new(struct connection);

        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        c->fd = fd;
        sink_session_init(&c->session, &k->shared);
        watch(k, fd, EPOLL_CTL_ADD, EPOLLIN, c);
        if (!connection_flush(k, c))
            connection_close(c);
    }
}

static void listen_on(struct sink *k, const char *where)
{
    struct sockaddr_in addr = { .sin_family = AF_INET };
    socklen_t len = sizeof(addr);
    const char *colon = strrchr(where, ':');
    char host[64] = "127.0.0.1";
    int on = 1;

    if (colon != NULL)
        snprintf(host, sizeof(host), "%.*s", (int)(colon - where), where);
    addr.sin_port = htons((uint16_t)atoi(colon != NULL ? colon + 1 : where));
    if (inet_pton(AF_INET, host, &addr.sin_addr) != 1) {
        fprintf(stderr, "sink: %s is no address\n", host);
        exit(64);
    }
    k->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(k->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(k->listener, (struct sockaddr *)&addr, sizeof(addr)) != 0 ||
        listen(k->listener, LISTEN_MAX) != 0 ||
        getsockname(k->listener, (struct sockaddr *)&addr, &len) != 0)
        fatal(where);
    watch(k, k->listener, EPOLL_CTL_ADD, EPOLLIN, &k->listener);
    printf("listening %u\n", ntohs(addr.sin_port));
    fflush(stdout);
}

static void print_counts(const struct sink_counts *c)
{
    printf("{\"connections\": %" PRIu64 ", \"messages\": %" PRIu64 ", \"recipients\": %" PRIu64
           ", \"bytes\": %" PRIu64 ", \"bad\": %" PRIu64 ", \"first_ns\": %" PRIu64
           ", \"last_ns\": %" PRIu64 "}\n",
           c->connections, c->messages, c->recipients, c->bytes, c->bad, c->first_ns, c->last_ns);
    fflush(stdout);
}

/* A line asks for the counts; false at the end of input. */
static bool control(struct sink *k)
{
    char line[256];
    ssize_t n = read(STDIN_FILENO, line, sizeof(line));

    if (n <= 0)
        return false;
    for (ssize_t i = 0; i < n; i++) {
        if (line[i] == '\n')
            print_counts(&k->shared.counts);
    }
    return true;
}

/* Standard input that can't be waited for, such as /dev/null, says nothing. */
static void watch_control(struct sink *k, bool *running)
{
    struct epoll_event ev = { .events = EPOLLIN, .data.ptr = running };

    if (epoll_ctl(k->epoll, EPOLL_CTL_ADD, STDIN_FILENO, &ev) != 0 && errno != EPERM)
        fatal("epoll_ctl");
}

static void usage(void)
{
    fprintf(stderr, "usage: sink [--check] [--record FILE] [ADDRESS:]PORT\n");
    exit(64);
}

static const char *parse_arguments(struct sink *k, int argc, char **argv)
{
    const char *where = NULL;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--check") == 0) {
            k->shared.check = true;
        } else if (strcmp(argv[i], "--record") == 0 && i + 1 < argc) {
            k->shared.check = true;
            k->shared.record = fopen(argv[++i], "ae");
            if (k->shared.record == NULL)
                fatal(argv[i]);
        } else if (argv[i][0] != '-' && where == NULL) {
            where = argv[i];
        } else {
            usage();
        }
    }
    if (where == NULL)
        usage();
    return where;
}

int main(int argc, char **argv)
{
    struct sink k = { .input = mem_alloc(READ_BYTES) };
    const char *where = parse_arguments(&k, argc, argv);
    bool running = true;

    signal(SIGPIPE, SIG_IGN);
    k.epoll = epoll_create1(EPOLL_CLOEXEC);
    listen_on(&k, where);
    watch_control(&k, &running);
    while (running) {
        struct epoll_event events[EVENTS_MAX];
        int n = epoll_wait(k.epoll, events, EVENTS_MAX, -1);

        for (int i = 0; i < n; i++) {
            void *ptr = events[i].data.ptr;

            if (ptr == &k.listener)
                accept_all(&k);
            else if (ptr == &running)
                running = control(&k);
            else
                connection_ready(&k, ptr);
        }
    }
    print_counts(&k.shared.counts);
    if (k.shared.record != NULL)
        fclose(k.shared.record);
    free(k.input);
    return 0;
}
