/* What an admin's request and its answer may look like when they come from a
 * process fallen to a stranger. */
#include "auth/accounts_admin.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_fields(const struct admin_fields *f)
{
    if (f->count > ADMIN_FIELDS_MAX)
        abort();
    for (size_t i = 0; i < f->count; i++)
        if (f->list[i].text.len > ADMIN_TEXT_MAX)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice bytes = slice_make(data, size);
    struct admin_request r;
    struct admin_answer a;
    struct admin_fields row;
    struct buf again = { 0 };

    if (!err_failed(admin_request_get(bytes, &r))) {
        check_fields(&r.fields);
        admin_request_put(&again, &r);
        if (!slice_eq(buf_bytes(&again), bytes))
            abort();
    }
    if (!err_failed(admin_answer_get(bytes, &a)))
        while (admin_row_next(&a.rows, &row))
            check_fields(&row);
    buf_release(&again);
    return 0;
}
