/* relayctl/change.c - the commands that act: retry, hold, release, delete,
 * bounce; check, reload, stop. */
#include "relayctl/tool.h"

#include "queue/id.h"
#include "relayctl/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct order_words {
    const char *order;
    const char *done;      /* "held: 2 recipients" */
    const char *pointless; /* why it applies to nobody */
    bool destructive;
} words[] = {
    { "retry", "tried now", "it is held: relayctl release lets it go", false },
    { "hold", "held", "it is held already", false },
    { "release", "released", "it is not held", false },
    { "delete", "deleted", "nobody is left to delete", true },
    { "bounce", "bounced", "nobody is left to bounce", true },
};

static const struct order_words *words_of(const char *order)
{
    size_t i = 0;

    while (strcmp(words[i].order, order) != 0)
        i++;
    return &words[i];
}

static void tell_answer(const struct order_words *w, const char *what, const json_t *answer)
{
    uint64_t recipients = number_of(answer, "recipients"), busy = number_of(answer, "busy");
    struct buf text = { 0 };

    if (recipients == 0) {
        printf("%s: nothing to do, %s\n", what, w->pointless);
        return;
    }
    buf_printf(&text, "%s: %s, ", what, w->done);
    text_count(&text, recipients, "recipient");
    if (busy != 0)
        buf_printf(&text, "; %" PRIu64 " of them under way: for these it applies when the attempt ends", busy);
    puts(buf_cstr(&text));
    buf_release(&text);
}

/* ---- by id ------------------------------------------------------------------------ */

static int check_ids(struct tool *t)
{
    uint64_t id;

    for (size_t i = 0; i < t->arg_count; i++) {
        if (!queue_id_parse(slice_str(t->args[i]), &id)) {
            tool_complain("\"%s\" is no queue id: 16 hex digits; nothing was changed", t->args[i]);
            return EX_DATAERR;
        }
    }
    return EX_OK;
}

static int order_one(struct tool *t, const struct order_words *w, const char *id, json_t *results)
{
    struct buf path = { 0 };
    json_t *answer;
    int exit_code;

    buf_printf(&path, "/v1/messages/%s/%s", id, w->order);
    exit_code = api_command(t, "POST", buf_cstr(&path), NULL, API_WAIT_MS, &answer);
    buf_release(&path);
    if (exit_code != EX_OK)
        return exit_code;
    if (!t->json)
        tell_answer(w, id, answer);
    json_object_set_new(answer, "id", json_string(id));
    json_array_append_new(results, answer);
    return EX_OK;
}

static int order_ids(struct tool *t, const struct order_words *w)
{
    json_t *results = json_array();
    int worst = check_ids(t);

    for (size_t i = 0; i < t->arg_count && worst != EX_DATAERR; i++) {
        int exit_code = order_one(t, w, t->args[i], results);

        if (exit_code == EX_NOINPUT)
            tool_complain("what became of %s tells: relayctl trace %s", t->args[i], t->args[i]);
        if (exit_code != EX_OK)
            worst = exit_code;
        if (exit_code == EX_UNAVAILABLE || exit_code == EX_TEMPFAIL || exit_code == EX_NOPERM)
            break; /* it would be the same for the rest */
    }
    if (t->json && worst != EX_DATAERR) {
        json_dumpf(results, stdout, JSON_INDENT(2));
        fputc('\n', stdout);
    }
    json_decref(results);
    return worst;
}

/* ---- by what they are like --------------------------------------------------------- */

static bool person_agrees(struct tool *t, const struct order_words *w)
{
    char line[16];
    json_t *page;
    size_t count;
    bool more;

    if (fetch_queue(t, 0, 1000, &page) != EX_OK)
        return false;
    count = json_array_size(json_object_get(page, "messages"));
    more = json_is_string(json_object_get(page, "next"));
    json_decref(page);
    if (t->offline)
        return true; /* nothing can be changed: the command itself says so */
    fprintf(stderr, "%s %s%zu message%s? [y/N] ", w->order, more ? "more than " : "", count, count == 1 ? "" : "s");
    return fgets(line, sizeof line, stdin) != NULL && (line[0] == 'y' || line[0] == 'Y');
}

static int may_select(struct tool *t, const struct order_words *w)
{
    if (filter_is_empty(&t->filter) && !t->all) {
        tool_complain("which messages? Name ids, or say what they are like (--sender, --recipient, --domain, "
                      "--state, --older, --newer), or --all");
        return EX_USAGE;
    }
    if (!w->destructive || t->yes)
        return EX_OK;
    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO)) {
        tool_complain("%s of a selection needs --yes when nobody can be asked", w->order);
        return EX_USAGE;
    }
    if (person_agrees(t, w))
        return EX_OK;
    tool_complain("nothing was changed");
    return EX_TEMPFAIL;
}

static char *selection_body(struct tool *t)
{
    json_t *body = json_object();
    char *text;

    for (size_t i = 0; i < t->criterion_count; i++)
        json_object_set_new(body, t->criteria[i].name, json_string(t->criteria[i].value));
    if (t->all)
        json_object_set_new(body, "all", json_true());
    text = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    return text;
}

struct sums {
    uint64_t messages, recipients, busy;
};

/* The engine works for about a second an answer. */
static int order_pages(struct tool *t, const struct order_words *w, const char *body, struct sums *sums)
{
    char after[QUEUE_ID_TEXT_MAX] = "";
    uint64_t id;

    for (;;) {
        struct buf path = { 0 };
        json_t *answer;
        int exit_code;

        buf_printf(&path, "/v1/queue/%s", w->order);
        if (*after != '\0')
            api_add_argument(&path, "after", after);
        exit_code = api_command(t, "POST", buf_cstr(&path), body, API_WAIT_MS, &answer);
        buf_release(&path);
        if (exit_code != EX_OK)
            return exit_code;
        sums->messages += number_of(answer, "messages");
        sums->recipients += number_of(answer, "recipients");
        sums->busy += number_of(answer, "busy");
        if (!queue_id_parse(slice_str(text_of(answer, "next")), &id)) {
            json_decref(answer);
            return EX_OK;
        }
        queue_id_format(id, after);
        json_decref(answer);
    }
}

static void tell_sums(const struct order_words *w, const struct sums *sums)
{
    struct buf text = { 0 };

    buf_printf(&text, "%s: ", w->done);
    text_count(&text, sums->recipients, "recipient");
    buf_add_str(&text, " of ");
    text_count(&text, sums->messages, "message");
    if (sums->busy != 0)
        buf_add_str(&text, "; for those under way it applies when their attempt ends");
    puts(buf_cstr(&text));
    buf_release(&text);
}

static int order_selection(struct tool *t, const struct order_words *w)
{
    struct sums sums = { 0 };
    int exit_code = may_select(t, w);
    char *body;

    if (exit_code != EX_OK)
        return exit_code;
    body = selection_body(t);
    exit_code = order_pages(t, w, body, &sums);
    free(body);
    if (exit_code != EX_OK && sums.messages != 0)
        tool_complain("%" PRIu64 " messages were done before that", sums.messages);
    if (exit_code != EX_OK)
        return exit_code;
    if (t->json)
        printf("{\"messages\": %" PRIu64 ", \"recipients\": %" PRIu64 ", \"busy\": %" PRIu64 "}\n", sums.messages,
               sums.recipients, sums.busy);
    else
        tell_sums(w, &sums);
    return EX_OK;
}

int command_order(struct tool *t, const char *order)
{
    const struct order_words *w = words_of(order);

    if (t->arg_count == 0)
        return order_selection(t, w);
    if (t->all || !filter_is_empty(&t->filter)) {
        tool_complain("either ids or what the messages are like, not both");
        return EX_USAGE;
    }
    return order_ids(t, w);
}

/* ---- the configuration and the process ------------------------------------------------ */

int command_check(struct tool *t)
{
    const char *path = t->arg_count > 0 ? t->args[0] : t->config_path;
    bool good = settings_check(path);

    if (t->json)
        puts(good ? "{\"good\": true}" : "{\"good\": false}");
    else if (good)
        printf("%s: good\n", path);
    return good ? EX_OK : EX_CONFIG;
}

/* A reload may take a while: first see whether anybody is there at all. */
static int post_and_tell(struct tool *t, const char *path, const char *done, long wait_ms)
{
    json_t *doc;
    int exit_code = api_command(t, "GET", "/v1/status", NULL, API_WAIT_MS, &doc);

    if (exit_code != EX_OK)
        return exit_code;
    json_decref(doc);
    exit_code = api_command(t, "POST", path, NULL, wait_ms, &doc);
    if (exit_code != EX_OK)
        return exit_code;
    if (t->json) {
        json_dumpf(doc, stdout, JSON_INDENT(2));
        fputc('\n', stdout);
    } else {
        if (strcmp(path, "/v1/reload") == 0 && *text_of(doc, "text") != '\0')
            fprintf(stderr, "%s\n", text_of(doc, "text")); /* warnings */
        puts(done);
    }
    json_decref(doc);
    return EX_OK;
}

int command_reload(struct tool *t)
{
    return post_and_tell(t, "/v1/reload", "The new configuration is in force.", API_RELOAD_WAIT_MS);
}

int command_stop(struct tool *t)
{
    return post_and_tell(t, "/v1/stop", "relayd finishes what is under way and stops.", API_WAIT_MS);
}
