/* relayctl/salvage.c - what waits in a damaged store, written to files: a
 * message's content as ID.eml, its envelope as ID.json. relayd does not run. */
#include "relayctl/tool.h"

#include "base/fd.h"
#include "control/json.h"
#include "queue/id.h"
#include "queue/salvage.h"
#include "relayd/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE     (64u * KIB)
#define UNCERTAIN "uncertain"

struct salvage_run {
    struct tool *tool;
    const char *folder;
    uint64_t whole, uncertain, damaged;
    json_t *losses; /* with --json */
    int exit_code;
};

static const char *loss(enum salvage_outcome o)
{
    switch (o) {
    case SALVAGE_WHOLE:
        return "nothing";
    case SALVAGE_NO_RECORD:
        return "its record";
    case SALVAGE_NO_HEADER:
        return "its header";
    case SALVAGE_NO_BODY:
        return "its body";
    }
    return "something";
}

static json_t *recipients_json(const struct salvaged *s, bool certain)
{
    json_t *list = json_array();

    for (size_t i = 0; i < s->recipient_count; i++) {
        const struct recipient *r = &s->recipients[i];
        json_t *one;

        if (s->recipient_certain[i] != certain)
            continue;
        one = json_object();
        json_put_slice(one, "address", r->address);
        json_put_number(one, "attempts", r->attempts);
        json_object_set_new(one, "held", json_boolean(r->state == RECIPIENT_HELD));
        json_array_append_new(list, one);
    }
    return list;
}

static json_t *envelope_json(const struct salvaged *s, const char *id)
{
    json_t *doc = json_object();

    json_object_set_new(doc, "id", json_string(id));
    json_object_set_new(doc, "whole", json_boolean(s->outcome == SALVAGE_WHOLE));
    json_object_set_new(doc, "certain", json_boolean(s->certain));
    if (s->outcome != SALVAGE_WHOLE)
        json_object_set_new(doc, "damaged", json_string(loss(s->outcome)));
    if (s->outcome != SALVAGE_NO_RECORD) {
        json_put_slice(doc, "sender", s->message->reverse_path);
        json_put_time(doc, "received", s->message->received_wall_ms);
        json_put_slice(doc, "client", s->message->client_addr);
        json_put_slice(doc, "message_id", s->message->message_id);
        json_put_number(doc, "size", message_size(s->message));
    } else if (s->recipient_count > 0) {
        json_put_slice(doc, "sender", s->recipients[0].reverse_path);
    }
    json_object_set_new(doc, "recipients", recipients_json(s, true));
    json_object_set_new(doc, "recipients_uncertain", recipients_json(s, false));
    return doc;
}

static struct err copy_file(int from, int to)
{
    static char room[PIECE];
    struct err e = ERR_OK;
    off_t at = 0;
    ssize_t n = 1;

    while (!err_failed(e) && n > 0) {
        n = pread(from, room, sizeof room, at);
        if (n < 0 && errno == EINTR) {
            n = 1;
            continue;
        }
        if (n < 0)
            e = err_sys(errno, "read body file");
        else if (n > 0)
            e = write_all(to, slice_make(room, (size_t)n), "write");
        at += n > 0 ? n : 0;
    }
    return e;
}

/* A file that is not whole does not stay. */
static struct err write_file(const char *path, struct slice first, struct slice second, int third)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    struct err e;

    if (fd < 0)
        return err_sys(errno, "make file");
    e = write_all(fd, first, "write");
    if (!err_failed(e))
        e = write_all(fd, second, "write");
    if (!err_failed(e) && third >= 0)
        e = copy_file(third, fd);
    if (close(fd) < 0 && !err_failed(e))
        e = err_sys(errno, "write");
    if (err_failed(e))
        unlink(path);
    return e;
}

static struct err write_message(const struct salvaged *s, const char *folder, const char *id)
{
    struct buf path = { 0 };
    struct err e = ERR_OK;
    json_t *doc = envelope_json(s, id);
    char *text = json_dumps(doc, JSON_INDENT(2) | JSON_PRESERVE_ORDER);

    if (!s->certain && mkdir(folder, 0700) < 0 && errno != EEXIST)
        e = err_sys(errno, "make folder");
    if (!err_failed(e) && s->outcome == SALVAGE_WHOLE) {
        buf_printf(&path, "%s/%s.eml", folder, id);
        e = write_file(buf_cstr(&path), s->header, s->body, s->body_fd);
    }
    if (!err_failed(e)) {
        buf_clear(&path);
        buf_printf(&path, "%s/%s.json", folder, id);
        e = write_file(buf_cstr(&path), slice_str(text), SLICE("\n"), -1);
    }
    free(text);
    json_decref(doc);
    buf_release(&path);
    return e;
}

static void tell_loss(struct salvage_run *r, const struct salvaged *s, const char *id)
{
    if (r->tool->json) {
        json_t *one = json_object();

        json_object_set_new(one, "id", json_string(id));
        json_object_set_new(one, "damaged", json_string(loss(s->outcome)));
        json_array_append_new(r->losses, one);
    } else {
        printf("%s: %s is damaged or missing; what is known of it is in %s.json\n", id, loss(s->outcome), id);
    }
}

static bool take(void *ctx, const struct salvaged *s)
{
    struct salvage_run *r = ctx;
    char id[QUEUE_ID_TEXT_MAX], text[256];
    struct buf folder = { 0 };
    struct err e;

    /* Scraps of what was long done with when its pages were given up. */
    if (!s->certain && s->outcome != SALVAGE_WHOLE)
        return true;
    queue_id_format(s->id, id);
    buf_printf(&folder, "%s%s", r->folder, s->certain ? "" : "/" UNCERTAIN);
    e = write_message(s, buf_cstr(&folder), id);
    if (err_failed(e)) {
        tool_complain("%s/%s: %s", buf_cstr(&folder), id, err_text(e, text, sizeof text));
        r->exit_code = EX_CANTCREAT;
    } else if (s->outcome != SALVAGE_WHOLE) {
        r->damaged++;
        tell_loss(r, s, id);
    } else if (s->certain) {
        r->whole++;
    } else {
        r->uncertain++;
    }
    buf_release(&folder);
    return !err_failed(e);
}

static void print_count(uint64_t n, const char *what)
{
    printf("%llu message%s %s\n", (unsigned long long)n, n == 1 ? "" : "s", what);
}

static void sum_up(struct salvage_run *r, const struct wreck_counts *c)
{
    if (r->tool->json) {
        json_t *doc = json_object();

        json_put_number(doc, "whole", r->whole);
        json_put_number(doc, "uncertain", r->uncertain);
        json_object_set(doc, "losses", r->losses);
        json_put_number(doc, "pages", c->pages);
        json_put_number(doc, "damaged_places", c->damaged);
        json_object_set_new(doc, "newest_state_known", json_boolean(!c->tree_lost));
        json_dumpf(doc, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
        putchar('\n');
        json_decref(doc);
        return;
    }
    print_count(r->whole, "whole");
    if (r->uncertain != 0)
        print_count(r->uncertain, "whole, but perhaps long delivered: in " UNCERTAIN "/");
    if (r->damaged != 0)
        print_count(r->damaged, "damaged");
    if (c->damaged != 0)
        printf("data.mdb is damaged in %llu places of its %llu pages\n", (unsigned long long)c->damaged,
               (unsigned long long)c->pages);
    if (c->tree_lost)
        puts("its newest state is not known: what came or went last may be missing or uncertain");
    if (c->damaged == 0 && !c->tree_lost)
        puts("data.mdb is not damaged");
}

static int share_lock(struct tool *t)
{
    struct buf why = { 0 };
    struct err e = lock_share(t->settings->state_dir, &t->lock_fd, &why);
    int exit_code = EX_OK;
    char text[256];

    if (e.kind == ERR_BUSY) {
        tool_complain("relayd is running: stop it first");
        exit_code = EX_TEMPFAIL;
    } else if (err_failed(e) && e.kind != ERR_NOT_FOUND) { /* a lost lock file is damage, too */
        tool_complain("%s: %s", t->settings->state_dir, buf_len(&why) != 0 ? buf_cstr(&why) : err_text(e, text, sizeof text));
        exit_code = EX_NOPERM;
    }
    buf_release(&why);
    return exit_code;
}

int command_salvage(struct tool *t)
{
    struct salvage_run r = { .tool = t, .folder = t->args[0], .exit_code = EX_OK };
    struct wreck_counts counts;
    char text[256];
    struct err e;
    int exit_code = share_lock(t);

    if (exit_code != EX_OK)
        return exit_code;
    if (mkdir(r.folder, 0700) < 0) {
        tool_complain("%s: %s; name a folder that is not there yet", r.folder, strerror(errno));
        return EX_CANTCREAT;
    }
    r.losses = json_array();
    e = queue_salvage(t->settings->state_dir, take, &r, &counts);
    if (err_failed(e)) {
        tool_complain("%s/queue: %s", t->settings->state_dir, err_text(e, text, sizeof text));
        r.exit_code = e.kind == ERR_NOT_FOUND ? EX_NOINPUT : EX_NOPERM;
        rmdir(r.folder);
    } else {
        sum_up(&r, &counts);
    }
    json_decref(r.losses);
    if (r.exit_code != EX_OK)
        return r.exit_code;
    return r.damaged != 0 || counts.tree_lost || counts.damaged != 0 ? EX_DATAERR : EX_OK;
}
