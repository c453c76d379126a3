/* auth/accounts_admin_wire.c - requests and answers of an admin, as bytes. */
#include "auth/accounts_admin.h"

#include "base/codec.h"

#include <assert.h>
#include <stdarg.h>

#define ADMIN_VERSION  1u
#define ADMIN_NAME_MAX 64u

static void put_fields(struct buf *b, const struct admin_fields *f)
{
    codec_put_u8(b, (uint8_t)f->count);
    for (size_t i = 0; i < f->count; i++) {
        const struct admin_field *it = &f->list[i];

        codec_put_bytes(b, it->name);
        codec_put_u8(b, (uint8_t)it->kind);
        if (it->kind == ADMIN_TEXT || it->kind == ADMIN_LIST)
            codec_put_bytes(b, it->text);
        else
            codec_put_u64(b, it->number);
    }
}

static bool get_field(struct codec_reader *r, struct admin_field *out)
{
    uint8_t kind;

    out->name = codec_bytes(r);
    kind = codec_u8(r);
    if (kind > ADMIN_TIME || out->name.len > ADMIN_NAME_MAX)
        r->fault = true;
    out->kind = (enum admin_kind)kind;
    if (out->kind == ADMIN_TEXT || out->kind == ADMIN_LIST)
        out->text = codec_bytes(r);
    else
        out->number = codec_u64(r);
    if (out->text.len > ADMIN_TEXT_MAX || (out->kind == ADMIN_LIST && out->text.len != 0 &&
                                           out->text.ptr[out->text.len - 1] != '\0'))
        r->fault = true;
    return !r->fault;
}

static bool get_fields(struct codec_reader *r, struct admin_fields *out)
{
    size_t count = codec_u8(r);

    *out = (struct admin_fields){ .count = 0 };
    if (count > ADMIN_FIELDS_MAX)
        r->fault = true;
    while (!r->fault && out->count < count && get_field(r, &out->list[out->count]))
        out->count++;
    return !r->fault;
}

/* ---- requests ------------------------------------------------------------------------------- */

void admin_request_put(struct buf *b, const struct admin_request *r)
{
    codec_put_u8(b, ADMIN_VERSION);
    codec_put_bytes(b, r->op);
    put_fields(b, &r->fields);
}

struct err admin_request_get(struct slice bytes, struct admin_request *out)
{
    struct codec_reader r = { bytes, false };
    uint8_t version = codec_u8(&r);

    *out = (struct admin_request){ .op = codec_bytes(&r) };
    get_fields(&r, &out->fields);
    if (!r.fault && version != ADMIN_VERSION)
        return err_make(ERR_VERSION, "admin request");
    return r.fault || r.rest.len != 0 ? err_make(ERR_PROTOCOL, "admin request of the wrong shape") : ERR_OK;
}

static const struct admin_field *find(const struct admin_fields *f, const char *name)
{
    for (size_t i = 0; i < f->count; i++)
        if (slice_eq(f->list[i].name, slice_str(name)))
            return &f->list[i];
    return NULL;
}

bool admin_has(const struct admin_fields *f, const char *name)
{
    return find(f, name) != NULL;
}

struct slice admin_text(const struct admin_fields *f, const char *name)
{
    const struct admin_field *it = find(f, name);

    return it != NULL ? it->text : SLICE_EMPTY;
}

static struct admin_field *add(struct admin_fields *f, const char *name, enum admin_kind kind)
{
    struct admin_field *it = &f->list[f->count++];

    assert(f->count <= ADMIN_FIELDS_MAX);
    *it = (struct admin_field){ .name = slice_str(name), .kind = kind };
    return it;
}

void admin_add_text(struct admin_fields *f, const char *name, struct slice text)
{
    add(f, name, ADMIN_TEXT)->text = text;
}

void admin_add_number(struct admin_fields *f, const char *name, uint64_t n)
{
    add(f, name, ADMIN_NUMBER)->number = n;
}

void admin_add_switch(struct admin_fields *f, const char *name, bool on)
{
    add(f, name, ADMIN_SWITCH)->number = on;
}

void admin_add_time(struct admin_fields *f, const char *name, uint64_t wall_ms)
{
    add(f, name, ADMIN_TIME)->number = wall_ms;
}

void admin_add_list(struct admin_fields *f, const char *name, struct slice texts)
{
    add(f, name, ADMIN_LIST)->text = texts;
}

/* ---- answers ----------------------------------------------------------------------------------- */

void admin_answer_begin(struct buf *b, enum admin_status status, const char *fmt, ...)
{
    struct buf text = { 0 };
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    buf_clear(b);
    codec_put_u8(b, ADMIN_VERSION);
    codec_put_u8(b, (uint8_t)status);
    codec_put_bytes(b, buf_bytes(&text));
    buf_release(&text);
}

void admin_row_put(struct buf *b, const struct admin_fields *row)
{
    put_fields(b, row);
}

struct err admin_answer_get(struct slice bytes, struct admin_answer *out)
{
    struct codec_reader r = { bytes, false };
    uint8_t version = codec_u8(&r), status = codec_u8(&r);

    *out = (struct admin_answer){ .status = (enum admin_status)status, .text = codec_bytes(&r) };
    out->rows = r.rest;
    if (!r.fault && version != ADMIN_VERSION)
        return err_make(ERR_VERSION, "admin answer");
    return r.fault || status > ADMIN_BUSY ? err_make(ERR_PROTOCOL, "admin answer of the wrong shape") : ERR_OK;
}

bool admin_row_next(struct slice *rows, struct admin_fields *out)
{
    struct codec_reader r = { *rows, false };

    if (rows->len == 0 || !get_fields(&r, out))
        return false;
    *rows = r.rest;
    return true;
}
