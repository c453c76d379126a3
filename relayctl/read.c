/* relayctl/read.c - the commands that look: status, queue, show, trace. */
#include "relayctl/tool.h"

#include "control/view.h"
#include "queue/id.h"
#include "relayctl/render.h"

#include <stdio.h>

static void print_json(const json_t *doc)
{
    json_dumpf(doc, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    fputc('\n', stdout);
}

static void print_buf(struct buf *text)
{
    fwrite(buf_bytes(text).ptr, 1, buf_len(text), stdout);
    buf_release(text);
}

int command_status(struct tool *t)
{
    struct buf text = { 0 };
    json_t *doc;
    int exit_code = fetch_status(t, &doc);

    if (exit_code != EX_OK)
        return exit_code;
    if (t->json) {
        print_json(doc);
    } else {
        render_status(&text, doc, t->color);
        print_buf(&text);
    }
    json_decref(doc);
    return EX_OK;
}

/* ---- queue: page by page, so that a long queue needs no memory ------------------- */

#define FIRST_PAGE 100u /* what a screen shows, at once; the pages behind it are longer */

struct listing {
    struct tool *tool;
    struct table table;
    uint64_t shown;
};

static void list_json(struct listing *l, const json_t *page)
{
    const json_t *message;
    size_t i;

    json_array_foreach(json_object_get(page, "messages"), i, message) {
        fputs(l->shown++ == 0 ? "\n" : ",\n", stdout);
        json_dumpf(message, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
    }
}

static void list_rows(struct listing *l, const json_t *page)
{
    struct buf text = { 0 };

    l->shown += json_array_size(json_object_get(page, "messages"));
    if (json_array_size(json_object_get(page, "messages")) == 0)
        return;
    render_queue_rows(&l->table, page);
    table_flush(&l->table, &text);
    print_buf(&text);
}

/* Takes pages until the end or the limit; *next is where it stopped, 0 at the end. */
static int list_pages(struct listing *l, uint64_t *next)
{
    struct tool *t = l->tool;
    uint64_t limit = t->limit != 0 ? t->limit : UINT64_MAX;
    uint64_t want = FIRST_PAGE;

    *next = 0;
    do {
        uint64_t left = limit - l->shown;
        json_t *page;
        int exit_code = fetch_queue(t, *next, left < want ? left : want, &page);

        if (exit_code != EX_OK)
            return exit_code;
        if (l->shown == 0 && *next == 0 && t->json)
            fputs("{\"messages\": [", stdout);
        if (t->json)
            list_json(l, page);
        else
            list_rows(l, page);
        fflush(stdout);
        want = VIEW_PAGE_MAX;
        if (!queue_id_parse(slice_str(text_of(page, "next")), next))
            *next = 0;
        json_decref(page);
    } while (*next != 0 && l->shown < limit);
    return EX_OK;
}

int command_queue(struct tool *t)
{
    struct listing l = { .tool = t };
    char id[QUEUE_ID_TEXT_MAX];
    uint64_t next;
    int exit_code;

    render_queue_table(&l.table, t->color, t->line_max);
    exit_code = list_pages(&l, &next);
    table_release(&l.table);
    if (exit_code != EX_OK)
        return exit_code;
    if (t->json) {
        if (next != 0)
            printf("\n], \"next\": \"%s\"}\n", queue_id_format(next, id));
        else
            printf("%s], \"next\": null}\n", l.shown != 0 ? "\n" : "");
    } else if (l.shown == 0) {
        puts(filter_is_empty(&t->filter) ? "The queue is empty." : "No message in the queue is like that.");
    } else if (next != 0) {
        puts("There may be more: raise --limit or leave it out.");
    }
    return EX_OK;
}

/* ---- show, trace -------------------------------------------------------------------- */

int command_show(struct tool *t)
{
    int worst = EX_OK;

    for (size_t i = 0; i < t->arg_count; i++) {
        struct buf text = { 0 };
        json_t *doc;
        uint64_t id;
        int exit_code;

        if (!tool_queue_id(t->args[i], &id))
            return EX_DATAERR;
        exit_code = fetch_message(t, id, &doc);
        if (exit_code == EX_NOINPUT)
            tool_complain("what became of it tells: relayctl trace %s", t->args[i]);
        if (exit_code != EX_OK) {
            worst = exit_code;
            continue;
        }
        if (t->json) {
            print_json(doc);
        } else {
            if (i > 0)
                fputc('\n', stdout);
            render_message(&text, doc, t->color);
            print_buf(&text);
        }
        json_decref(doc);
    }
    return worst;
}

int command_trace(struct tool *t)
{
    struct buf text = { 0 };
    json_t *doc;
    size_t found;
    int exit_code = fetch_trace(t, t->args[0], &doc);

    if (exit_code != EX_OK)
        return exit_code;
    found = json_array_size(json_object_get(doc, "events"));
    if (t->json) {
        print_json(doc);
    } else {
        render_trace(&text, doc, t->color);
        print_buf(&text);
    }
    json_decref(doc);
    if (found != 0)
        return EX_OK;
    tool_complain("nothing is known of %s: it never came here, or it is longer ago than the history keeps", t->args[0]);
    return EX_NOINPUT;
}
