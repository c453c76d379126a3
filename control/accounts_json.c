/* control/accounts_json.c - requests and answers about users, from and to JSON. */
#include "control/accounts_json.h"

#include "base/secret.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool take_member(struct admin_request *r, const char *name, const json_t *value, char number[24],
                        const char **why)
{
    struct slice text = SLICE_EMPTY;

    if (r->fields.count == ADMIN_FIELDS_MAX) {
        *why = "it has more than 16 members";
        return false;
    }
    if (json_is_string(value)) {
        text = slice_make(json_string_value(value), json_string_length(value));
    } else if (json_is_boolean(value)) {
        text = json_is_true(value) ? SLICE("yes") : SLICE("no");
    } else if (json_is_integer(value)) {
        snprintf(number, 24, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        text = slice_str(number);
    } else {
        *why = "a member is neither text, number nor switch";
        return false;
    }
    *why = "a member is larger than 32 KiB, or its name than 64 bytes";
    if (text.len > ADMIN_TEXT_MAX || strlen(name) > 64)
        return false;
    admin_add_text(&r->fields, name, text);
    return true;
}

bool accounts_request_of_json(struct slice op, const json_t *body, struct buf *request, const char **why)
{
    struct admin_request r = { .op = op };
    char numbers[ADMIN_FIELDS_MAX + 1][24];
    const json_t *value;
    const char *name;
    size_t room = 1024;

    *why = "it is not an object";
    if (!json_is_object(body))
        return false;
    json_object_foreach((json_t *)body, name, value) {
        if (!take_member(&r, name, value, numbers[r.fields.count], why))
            return false;
        room += json_string_length(value) + strlen(name) + 64;
    }
    buf_reserve(request, room); /* growing would leave a password behind */
    admin_request_put(request, &r);
    return true;
}

void accounts_wipe_json(json_t *body)
{
    json_t *password = json_object_get(body, "password");

    if (json_is_string(password))
        secret_wipe((char *)json_string_value(password), json_string_length(password));
}

static json_t *list_json(struct slice texts)
{
    json_t *out = json_array();
    struct slice text;

    while (slice_split(&texts, '\0', &text))
        json_array_append_new(out, json_of_slice(text));
    return out;
}

static void put_field(json_t *row, const struct admin_field *f)
{
    char name[65];

    snprintf(name, sizeof name, "%.*s", (int)f->name.len, f->name.ptr != NULL ? f->name.ptr : "");
    switch (f->kind) {
    case ADMIN_TEXT:
        json_object_set_new(row, name, json_of_slice(f->text));
        break;
    case ADMIN_NUMBER:
        json_put_number(row, name, f->number);
        break;
    case ADMIN_SWITCH:
        json_object_set_new(row, name, json_boolean(f->number != 0));
        break;
    case ADMIN_TIME:
        json_put_time(row, name, f->number);
        break;
    case ADMIN_LIST:
        json_object_set_new(row, name, list_json(f->text));
        break;
    }
}

json_t *accounts_answer_json(struct slice bytes, enum admin_status *status)
{
    struct admin_answer a;
    struct admin_fields fields;
    json_t *out, *rows;

    if (err_failed(admin_answer_get(bytes, &a)))
        return NULL;
    *status = a.status;
    out = json_object();
    rows = json_array();
    json_object_set_new(out, "text", json_of_slice(a.text));
    json_object_set_new(out, "rows", rows);
    while (admin_row_next(&a.rows, &fields)) {
        json_t *row = json_object();

        for (size_t i = 0; i < fields.count; i++)
            put_field(row, &fields.list[i]);
        json_array_append_new(rows, row);
    }
    return out;
}
