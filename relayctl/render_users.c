/* relayctl/render_users.c - users, application passwords and refused clients
 * as tables. */
#include "relayctl/render.h"

#include <inttypes.h>

static void cell_text(struct table *t, enum text_style style, const char *text)
{
    struct buf clean = { 0 };

    text_clean(&clean, text);
    table_cell(t, style, buf_cstr(&clean));
    buf_release(&clean);
}

static void add_time(struct buf *out, uint64_t wall_ms)
{
    struct buf time = { 0 };

    if (wall_ms == 0) {
        buf_add_str(out, "never");
        return;
    }
    text_time(&time, wall_ms);
    buf_add(out, slice_head(buf_bytes(&time), sizeof "2026-11-23 17:05" - 1));
    buf_release(&time);
}

static void cell_time(struct table *t, uint64_t wall_ms)
{
    struct buf text = { 0 };

    add_time(&text, wall_ms);
    table_cell(t, STYLE_PLAIN, buf_cstr(&text));
    buf_release(&text);
}

static void cell_number(struct table *t, uint64_t n)
{
    struct buf text = { 0 };

    buf_add_u64(&text, n);
    table_cell(t, STYLE_PLAIN, buf_cstr(&text));
    buf_release(&text);
}

static void end_table(struct table *t, struct buf *out)
{
    table_flush(t, out);
    table_release(t);
}

void render_users(struct buf *out, const json_t *users, bool color, size_t line_max)
{
    static const struct table_column columns[] = {
        { .title = "USER" }, { .title = "STATE" }, { .title = "APPS", .right = true },
        { .title = "LAST LOGIN" }, { .title = "CREATED" },
    };
    const json_t *row;
    struct table t;
    size_t i;

    if (json_array_size(users) == 0) {
        buf_add_str(out, "There are no users. relayctl user add ADDRESS makes one.\n");
        return;
    }
    table_init(&t, columns, countof(columns), color, line_max);
    json_array_foreach(users, i, row) {
        bool disabled = json_is_true(json_object_get(row, "disabled"));

        cell_text(&t, STYLE_PLAIN, text_of(row, "user"));
        if (disabled)
            table_cell(&t, STYLE_BAD, "disabled");
        else if (json_is_true(json_object_get(row, "password")))
            table_cell(&t, STYLE_GOOD, "active");
        else
            table_cell(&t, STYLE_WARN, "no password");
        cell_number(&t, number_of(row, "app_passwords"));
        cell_time(&t, number_of(row, "last_login_ms"));
        cell_time(&t, number_of(row, "created_ms"));
    }
    end_table(&t, out);
}

void render_app_passwords(struct buf *out, const json_t *rows, bool color, size_t line_max)
{
    static const struct table_column columns[] = {
        { .title = "APPLICATION PASSWORD" }, { .title = "LAST LOGIN" }, { .title = "CREATED" },
    };
    const json_t *row;
    struct table t;
    size_t i;

    if (json_array_size(rows) == 0) {
        buf_add_str(out, "There are no application passwords.\n");
        return;
    }
    table_init(&t, columns, countof(columns), color, line_max);
    json_array_foreach(rows, i, row) {
        cell_text(&t, STYLE_PLAIN, text_of(row, "app"));
        cell_time(&t, number_of(row, "last_login_ms"));
        cell_time(&t, number_of(row, "created_ms"));
    }
    end_table(&t, out);
}

static void name(struct buf *out, const char *s)
{
    buf_printf(out, "%-20s ", s);
}

static void add_limit(struct buf *out, const char *title, const json_t *user, const char *limit, const char *used)
{
    const json_t *value = json_object_get(user, limit);

    name(out, title);
    if (json_is_string(value))
        buf_add_str(out, json_string_value(value));
    else
        buf_add_u64(out, number_of(user, limit));
    if (json_object_get(user, used) != NULL)
        buf_printf(out, "; %" PRIu64 " in the last hour", number_of(user, used));
    buf_add_byte(out, '\n');
}

static void add_senders(struct buf *out, const json_t *senders)
{
    const json_t *sender;
    size_t i;

    name(out, "may send as");
    json_array_foreach(senders, i, sender) {
        buf_add_str(out, i == 0 ? "" : ", ");
        text_clean(out, json_string_value(sender));
    }
    buf_add_byte(out, '\n');
}

void render_user(struct buf *out, const json_t *rows, bool color)
{
    const json_t *user = json_array_get(rows, 0);
    bool disabled = json_is_true(json_object_get(user, "disabled"));
    json_t *apps = json_array();

    name(out, "user");
    text_clean(out, text_of(user, "user"));
    if (disabled)
        buf_printf(out, ", %sdisabled%s", style_begin(color, STYLE_BAD), style_end(color, STYLE_BAD));
    buf_add_byte(out, '\n');
    name(out, "password");
    buf_printf(out, "%s%s\n", json_is_true(json_object_get(user, "password")) ? "yes" : "none",
               json_is_true(json_object_get(user, "scram")) ? ", for SCRAM too" : "");
    name(out, "services");
    buf_printf(out, "%s\n", text_of(user, "services")[0] != '\0' ? text_of(user, "services") : "none");
    add_senders(out, json_object_get(user, "senders"));
    add_limit(out, "messages per hour", user, "messages_per_hour", "messages_this_hour");
    add_limit(out, "recipients per hour", user, "recipients_per_hour", "recipients_this_hour");
    name(out, "created");
    add_time(out, number_of(user, "created_ms"));
    buf_add_byte(out, '\n');
    name(out, "changed");
    add_time(out, number_of(user, "changed_ms"));
    buf_add_byte(out, '\n');
    name(out, "last login");
    add_time(out, number_of(user, "last_login_ms"));
    buf_add_byte(out, '\n');
    for (size_t i = 1; i < json_array_size(rows); i++)
        json_array_append(apps, json_array_get(rows, i));
    if (json_array_size(apps) != 0) {
        buf_add_byte(out, '\n');
        render_app_passwords(out, apps, color, 0);
    }
    json_decref(apps);
}

void render_bans(struct buf *out, const json_t *rows, bool color, size_t line_max)
{
    static const struct table_column columns[] = {
        { .title = "WHO" }, { .title = "FAILURES", .right = true }, { .title = "REFUSED FOR" },
    };
    const json_t *row;
    struct table t;
    size_t i;

    if (json_array_size(rows) == 0) {
        buf_add_str(out, "No failed logins are counted.\n");
        return;
    }
    table_init(&t, columns, countof(columns), color, line_max);
    json_array_foreach(rows, i, row) {
        struct buf span = { 0 };
        bool refused = json_is_true(json_object_get(row, "refused"));

        cell_text(&t, STYLE_PLAIN, json_object_get(row, "user") != NULL ? text_of(row, "user") : text_of(row, "client"));
        cell_number(&t, number_of(row, "failures"));
        if (refused)
            text_span(&span, number_of(row, "refused_for_ms"));
        table_cell(&t, refused ? STYLE_BAD : STYLE_PLAIN, refused ? buf_cstr(&span) : "slowed only");
        buf_release(&span);
    }
    end_table(&t, out);
}
