/* relayd/notify.c - readiness for whoever waits to send mail after our start. */
#include "relayd/notify.h"

#include <systemd/sd-daemon.h>

#include <inttypes.h>

#define STATUS_MAX 200

void notify_ready(void)
{
    sd_notify(0, "READY=1");
}

void notify_reloading(const struct clock *clock)
{
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, clock_mono_ms(clock) * 1000);
}

void notify_stopping(void)
{
    sd_notify(0, "STOPPING=1");
}

/* A line end in it would let a child say more than its status. */
void notify_status(struct slice text)
{
    char line[STATUS_MAX + 1];
    size_t n = 0;

    for (; n < text.len && n < STATUS_MAX; n++)
        line[n] = (unsigned char)text.ptr[n] < 0x20 || text.ptr[n] == 0x7f ? ' ' : text.ptr[n];
    line[n] = '\0';
    sd_notifyf(0, "STATUS=%s", line);
}
