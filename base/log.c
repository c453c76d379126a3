/* base/log.c - log lines, written by a thread of their own. */
#include "base/log.h"

#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 4096        /* a longer line is cut */
#define GATHER_NS (2 * 1000 * 1000)
#define QUEUE_MAX_BYTES (4u * MIB) /* waiting for a slow reader */

/* Another thread may be writing a line with an old name, so that names are
 * kept, and used again when they come back. */
struct log_name {
    struct log_name *before;
    char text[];
};

/* The log is the one thing of which a process has exactly one. */
static struct {
    _Atomic enum log_level least;
    _Atomic(const char *) hostname; /* the short name, as syslog shows it */
    struct log_name *names;         /* all it has had; of the one thread that sets them */
    pthread_mutex_t lock;
    pthread_cond_t filled;
    pthread_cond_t written;
    char *queue; /* two halves: callers fill one while the thread writes the other */
    size_t len;
    int half;
    bool threaded;
    bool stopping;
    bool writing;
    pthread_t thread;
    _Atomic uint64_t dropped;
    uint64_t dropped_told;
    bool idle;   /* the thread waits for a line */
    _Atomic int pid;
} the_log = {
    .least = LOG_LEVEL_INFO,
    .hostname = "localhost",
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .filled = PTHREAD_COND_INITIALIZER,
    .written = PTHREAD_COND_INITIALIZER,
};

static char queue_memory[2][QUEUE_MAX_BYTES];

void log_open(const char *hostname, enum log_level least)
{
    the_log.least = least;
    the_log.pid = (int)getpid();
    log_set_hostname(hostname);
}

void log_set_hostname(const char *hostname)
{
    size_t len = strcspn(hostname, ".");
    struct log_name *n = the_log.names;

    while (n != NULL && (strlen(n->text) != len || memcmp(n->text, hostname, len) != 0))
        n = n->before;
    if (n == NULL) {
        n = mem_alloc(sizeof *n + len + 1);
        memcpy(n->text, hostname, len);
        n->text[len] = '\0';
        n->before = the_log.names;
        the_log.names = n;
    }
    atomic_store(&the_log.hostname, n->text);
}

bool log_enabled(enum log_level level)
{
    return level >= the_log.least;
}

uint64_t log_dropped(void)
{
    return atomic_load(&the_log.dropped);
}

/* False: standard error did not take it. */
/* The first of them may be there in part. */
static void count_lost(const char *p, size_t len)
{
    for (const char *end = p + len; p < end && (p = memchr(p, '\n', (size_t)(end - p))) != NULL; p++)
        atomic_fetch_add(&the_log.dropped, 1);
}

static bool write_all(const char *p, size_t len)
{
    while (len > 0) {
        ssize_t n = write(STDERR_FILENO, p, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            count_lost(p, len); /* full disk or closed pipe: mail goes on */
            return false;
        }
        p += n;
        len -= (size_t)n;
    }
    return true;
}

/* "Nov 23 16:05:12"; each thread makes it once a second. */
static const char *stamp_now(void)
{
    static _Thread_local time_t stamp_for;
    static _Thread_local char stamp[32];
    time_t now = (time_t)(clock_wall_ms(&clock_system) / 1000);
    struct tm tm;

    if (now != stamp_for) {
        localtime_r(&now, &tm);
        strftime(stamp, sizeof stamp, "%b %e %H:%M:%S", &tm);
        stamp_for = now;
    }
    return stamp;
}

static const char *level_word(enum log_level level)
{
    switch (level) {
    case LOG_LEVEL_DEBUG:
        return "debug: ";
    case LOG_LEVEL_INFO:
        return "";
    case LOG_LEVEL_WARNING:
        return "warning: ";
    case LOG_LEVEL_ERROR:
        return "error: ";
    case LOG_LEVEL_FATAL:
        return "fatal: ";
    }
    return "";
}

/* Copies text to out so that no byte can forge a line or move a cursor. */
static size_t clean(const char *text, size_t len, char *out, size_t room)
{
    size_t n = 0;

    for (size_t i = 0; i < len && n + 5 < room; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c >= 0x20 && c != 0x7f)
            out[n++] = (char)c;
        else
            n += (size_t)snprintf(out + n, room - n, "\\x%02x", c);
    }
    return n;
}

void log_vwrite(enum log_level level, const char *part, const char *fmt, va_list ap)
{
    char text[LINE_MAX_BYTES];
    char line[LINE_MAX_BYTES + 512];
    int text_len;
    size_t n;

    if (!log_enabled(level))
        return;
    text_len = vsnprintf(text, sizeof text, fmt, ap);
    if (text_len < 0)
        return;
    if ((size_t)text_len >= sizeof text)
        text_len = sizeof text - 1;

    n = (size_t)snprintf(line, 512, "%s %s relayd/%s[%d]: %s", stamp_now(), atomic_load(&the_log.hostname), part,
                         the_log.pid != 0 ? the_log.pid : (int)getpid(), level_word(level));
    n += clean(text, (size_t)text_len, line + n, sizeof line - n - 1);
    line[n++] = '\n';
    pthread_mutex_lock(&the_log.lock);
    if (!the_log.threaded) {
        write_all(line, n);
    } else if (the_log.len + n > QUEUE_MAX_BYTES) {
        atomic_fetch_add(&the_log.dropped, 1);
    } else {
        memcpy(the_log.queue + the_log.len, line, n);
        the_log.len += n;
        if (the_log.idle) {
            the_log.idle = false;
            pthread_cond_signal(&the_log.filled);
        }
    }
    pthread_mutex_unlock(&the_log.lock);
}

void log_write(enum log_level level, const char *part, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    log_vwrite(level, part, fmt, ap);
    va_end(ap);
}

static void tell_dropped(void)
{
    uint64_t dropped = atomic_load(&the_log.dropped);

    if (dropped == the_log.dropped_told)
        return;
    the_log.dropped_told = dropped;
    log_warning("log", "%llu lines were lost: standard error did not take them",
                (unsigned long long)dropped);
}

/* Lines come in bursts: a short wait makes one write of many. Under the lock. */
static void gather(void)
{
    static const struct timespec pause = { 0, GATHER_NS };

    pthread_mutex_unlock(&the_log.lock);
    nanosleep(&pause, NULL);
    pthread_mutex_lock(&the_log.lock);
}

static void *writer_main(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&the_log.lock);
    for (;;) {
        char *ready;
        size_t len;

        while (the_log.len == 0 && !the_log.stopping) {
            the_log.idle = true;
            pthread_cond_wait(&the_log.filled, &the_log.lock);
        }
        the_log.idle = false;
        if (the_log.len == 0)
            break;
        if (!the_log.stopping)
            gather();
        ready = the_log.queue;
        len = the_log.len;
        the_log.half = !the_log.half;
        the_log.queue = queue_memory[the_log.half];
        the_log.len = 0;
        the_log.writing = true;
        pthread_mutex_unlock(&the_log.lock);
        if (write_all(ready, len))
            tell_dropped(); /* else this line would be the next to be lost, and so on for ever */
        pthread_mutex_lock(&the_log.lock);
        the_log.writing = false;
        pthread_cond_broadcast(&the_log.written);
    }
    pthread_mutex_unlock(&the_log.lock);
    return NULL;
}

void log_start_thread(void)
{
    the_log.queue = queue_memory[0];
    the_log.len = 0;
    the_log.stopping = false;
    cond_init(&the_log.written);
    if (pthread_create(&the_log.thread, NULL, writer_main, NULL) == 0)
        the_log.threaded = true;
}

void log_flush(void)
{
    uint64_t until = cond_deadline_ms(SECOND_MS);
    bool in_time = true;

    pthread_mutex_lock(&the_log.lock);
    while (the_log.threaded && (the_log.len != 0 || the_log.writing) && in_time)
        in_time = cond_wait_until(&the_log.written, &the_log.lock, until);
    pthread_mutex_unlock(&the_log.lock);
}

void log_stop_thread(void)
{
    bool stuck;

    if (!the_log.threaded)
        return;
    log_flush();
    pthread_mutex_lock(&the_log.lock);
    stuck = the_log.writing;
    the_log.stopping = true;
    the_log.threaded = false;
    pthread_cond_signal(&the_log.filled);
    pthread_mutex_unlock(&the_log.lock);
    if (stuck)
        pthread_detach(the_log.thread); /* its reader sleeps: it must not keep us from ending */
    else
        pthread_join(the_log.thread, NULL);
}
