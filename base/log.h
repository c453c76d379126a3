/* base/log.h - what happened, for people and for the tools that read mail logs.
 *
 * Lines have the shape of Postfix's:
 *   Nov 23 16:05:12 mx relayd/smtpd[7431]: 0194f…: client=…
 * They go to standard error. After log_start_thread() callers only copy the
 * line into a bounded queue and a thread writes it, so a stuck terminal or a
 * full disk never stops the mail; lines that did not fit are counted and the
 * count is logged once there is room again.
 *
 * Any thread. Control characters in a line are shown as \xNN.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/base.h"

#include <stdarg.h>

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARNING, LOG_LEVEL_ERROR, LOG_LEVEL_FATAL };

/* Once, before other threads exist. hostname is copied. */
void log_open(const char *hostname, enum log_level least);
void log_set_hostname(const char *hostname); /* by one thread at a time; others may be logging */
void log_start_thread(void);
void log_flush(void);        /* waits, at most a second, for the thread to write what waits */
void log_stop_thread(void);  /* writes what waits, then lines go out directly again */

/* `part` names the component: "smtpd", "smtp", "qmgr", "engine"… a literal. */
void log_write(enum log_level level, const char *part, const char *fmt, ...) PRINTF_LIKE(3, 4);
void log_vwrite(enum log_level level, const char *part, const char *fmt, va_list ap) PRINTF_LIKE(3, 0);

bool log_enabled(enum log_level level);
uint64_t log_dropped(void); /* lines lost so far */

#define log_debug(part, ...)                                                                       \
    do {                                                                                           \
        if (log_enabled(LOG_LEVEL_DEBUG))                                                          \
            log_write(LOG_LEVEL_DEBUG, part, __VA_ARGS__);                                         \
    } while (0)
#define log_info(part, ...) log_write(LOG_LEVEL_INFO, part, __VA_ARGS__)
#define log_warning(part, ...) log_write(LOG_LEVEL_WARNING, part, __VA_ARGS__)
#define log_error(part, ...) log_write(LOG_LEVEL_ERROR, part, __VA_ARGS__)

#endif
