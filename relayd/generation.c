/* relayd/generation.c - takes the configuration from its files to the
 * processes as one piece of memory that nobody can change any more. */
#include "relayd/generation.h"

#include "base/fd.h"
#include "relayd/settings_dkim.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEALS             (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)
#define WRITTEN_BYTES_MAX (BUNDLE_BYTES_MAX + 16 * MIB) /* with names and framing */

static struct err seal(const struct bundle *b, int *out)
{
    struct buf bytes = { 0 };
    struct err e;
    int fd = memfd_create("relayd.conf", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0)
        return err_sys(errno, "make memory file");
    bundle_write(b, &bytes);
    e = write_all(fd, buf_bytes(&bytes), "write configuration to memory");
    if (!err_failed(e) && fcntl(fd, F_ADD_SEALS, SEALS) != 0)
        e = err_sys(errno, "seal configuration");
    buf_wipe(&bytes); /* it may hold secrets */
    if (err_failed(e))
        close(fd);
    else
        *out = fd;
    return e;
}

/* One for each kind of process, with the secrets that are for it. */
static struct err seal_all(const struct bundle *b, int *out)
{
    struct err e = ERR_OK;

    for (size_t i = 0; i < PROCESS_KINDS && !err_failed(e); i++) {
        struct bundle *part = settings_withhold(b, (enum process_kind)i);

        e = seal(part, &out[i]);
        bundle_free(part);
    }
    return e;
}

static struct err trouble(const struct bundle *b)
{
    return b->trouble != 0 ? err_sys(b->trouble, "read the configuration's files") : ERR_OK;
}

struct err generation_whole(const struct generation *g, struct buf *text)
{
    struct err e = trouble(g->bundle);
    char why[256];

    if (err_failed(e))
        buf_printf(text, "%s: %s\n", g->bundle->name, err_text(e, why, sizeof why));
    return e;
}

/* Takes over b. */
static struct err make(struct bundle *b, struct generation *out, struct buf *text)
{
    struct diagnostics d = { 0 };
    struct settings *settings = NULL;
    struct err e = settings_load_bundle(b, &d, &settings);

    *out = GENERATION_EMPTY;
    out->bundle = b;
    diagnostics_format(&d, text);
    if (err_failed(e) && b->trouble != 0)
        e = trouble(b); /* no verdict on what the person wrote */
    if (!err_failed(e))
        e = seal_all(b, out->bundle_fds);
    if (err_failed(e)) {
        char why[256];

        settings_unref(settings);
        if (d.errors == 0)
            buf_printf(text, "%s: %s\n", b->name, err_text(e, why, sizeof why));
        generation_release(out);
    } else {
        out->settings = settings;
    }
    diagnostics_release(&d);
    return e;
}

struct err generation_load(const char *path, struct generation *out, struct buf *text)
{
    return make(settings_read(path, environ), out, text);
}

struct err generation_refresh(const struct generation *g, struct generation *out, struct buf *text)
{
    return make(settings_read_again(g->bundle), out, text);
}

struct err generation_judge(const struct generation *g, const struct settings *running, uint64_t wall_ms,
                            struct buf *text)
{
    struct diagnostics d = { 0 };
    struct err e = ERR_OK;

    settings_judge_certificates(g->settings, running, wall_ms, &d);
    diagnostics_format(&d, text);
    if (d.errors > 0)
        e = err_make(ERR_SYNTAX, "judge certificates");
    diagnostics_release(&d);
    return e;
}

/* What there is to say of keys that were looked for only now; of the others it
 * was said. */
static void tell_auto(const struct settings_domain *domain, struct buf *text)
{
    if (domain->dkim_problem != NULL)
        buf_printf(text, "mail from %s can't be signed and waits: %s\n", domain->name, domain->dkim_problem);
    for (size_t i = 0; i < domain->dkim_count; i++)
        if (domain->dkim[i].problem != NULL)
            buf_printf(text, "mail from %s can't be signed and waits: %s\n", domain->name,
                       domain->dkim[i].problem);
}

/* The configuration as it was read, now with its keys. */
static struct err load_again(struct generation *g, struct buf *text)
{
    struct diagnostics d = { 0 };
    struct settings *settings = NULL;
    struct err e = settings_load_bundle(g->bundle, &d, &settings);

    if (!err_failed(e)) {
        settings_unref(g->settings);
        g->settings = settings;
        for (size_t i = 0; i < settings->domain_count; i++)
            if (settings->domains[i].dkim_auto)
                tell_auto(&settings->domains[i], text);
    }
    diagnostics_release(&d);
    return e;
}

static void close_bundles(struct generation *g)
{
    for (size_t i = 0; i < PROCESS_KINDS; i++) {
        if (g->bundle_fds[i] >= 0)
            close(g->bundle_fds[i]);
        g->bundle_fds[i] = -1;
    }
}

struct err generation_keys(struct generation *g, const struct clock *clock, struct buf *text)
{
    struct err e;

    if (!settings_has_dkim(g->settings))
        return ERR_OK;
    settings_auto_keys(g->settings, g->bundle, true, clock_wall_ms(clock));
    e = load_again(g, text);
    close_bundles(g);
    return err_failed(e) ? e : seal_all(g->bundle, g->bundle_fds);
}

void generation_release(struct generation *g)
{
    close_bundles(g);
    bundle_free(g->bundle);
    settings_unref(g->settings);
    sockets_release(&g->sockets);
    *g = GENERATION_EMPTY;
}

/* The offset is shared with all who have the file open, hence pread. */
static struct err read_all(int fd, struct buf *out)
{
    struct stat st;
    off_t at = 0;

    if (fstat(fd, &st) != 0)
        return err_sys(errno, "look at configuration in memory");
    if (st.st_size > (off_t)WRITTEN_BYTES_MAX)
        return err_make(ERR_LIMIT, "read configuration from memory");
    while (at < st.st_size) {
        size_t rest = (size_t)(st.st_size - at);
        ssize_t n = pread(fd, buf_reserve(out, rest), rest, at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return err_sys(n < 0 ? errno : EIO, "read configuration from memory");
        buf_extend(out, (size_t)n);
        at += n;
    }
    return ERR_OK;
}

struct err generation_settings(int bundle_fd, struct diagnostics *d, struct settings **out)
{
    struct buf bytes = { 0 };
    struct bundle *b = NULL;
    struct err e = read_all(bundle_fd, &bytes);

    if (!err_failed(e))
        e = bundle_parse(buf_bytes(&bytes), &b);
    buf_wipe(&bytes);
    if (!err_failed(e))
        e = settings_load_bundle(b, d, out);
    bundle_free(b);
    return e;
}
