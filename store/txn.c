/* store/txn.c - what a job may do inside its transaction: get, put, delete,
 * walk. A message's records pass through here on their way in and out.
 *
 * Every call notes in the transaction whether the job has written and
 * whether LMDB has given the transaction up, which is how the writer knows
 * what a failed job costs.
 */
#include "store/internal.h"

#include "base/mem.h"

#include <assert.h>
#include <stdlib.h>

struct store_cursor {
    struct list link;
    struct store_txn *txn;
    MDB_cursor *cursor;
    bool absent;   /* a table that this store has not got */
    bool past_end; /* a seek found nothing: next is nothing, prev is the last */
};

void txn_init(struct store_txn *t, struct store *s, MDB_txn *txn, bool read_only)
{
    *t = (struct store_txn){ .store = s, .txn = txn, .read_only = read_only };
    list_init(&t->cursors);
}

void txn_close_cursors(struct store_txn *t)
{
    while (!list_empty(&t->cursors))
        store_cursor_close(list_first(&t->cursors, struct store_cursor, link));
}

static MDB_val val_of(struct slice s)
{
    return (MDB_val){ s.len, (void *)s.ptr };
}

static struct slice slice_of(MDB_val v)
{
    return slice_make(v.mv_data, v.mv_size);
}

/* After this answer the transaction goes on; after all others LMDB has marked
 * it as failed. */
static struct err txn_err(struct store_txn *t, int rc, const char *what)
{
    if (rc != MDB_NOTFOUND)
        t->bad = rc;
    return env_err(rc, what);
}

static bool key_fits(struct slice key)
{
    return key.len > 0 && key.len <= STORE_KEY_MAX;
}

static bool table_open(struct store_txn *t, unsigned table)
{
    assert(table < t->store->opt.table_count);
    return t->store->has[table];
}

struct err store_get(struct store_txn *t, unsigned table, struct slice key, struct slice *out)
{
    MDB_val k = val_of(key), v;
    int rc;

    if (!key_fits(key))
        return err_make(ERR_LIMIT, "key length");
    if (!table_open(t, table))
        return err_make(ERR_NOT_FOUND, "get record");
    rc = mdb_get(t->txn, t->store->dbi[table], &k, &v);
    if (rc != 0)
        return txn_err(t, rc, "get record");
    *out = slice_of(v);
    return ERR_OK;
}

static struct err put(struct store_txn *t, unsigned table, struct slice key, MDB_val *value,
                      unsigned flags)
{
    MDB_val k = val_of(key);
    int rc;

    assert(!t->read_only);
    if (!key_fits(key))
        return err_make(ERR_LIMIT, "key length");
    if (value->mv_size > STORE_VALUE_MAX)
        return err_make(ERR_LIMIT, "value length");
    table_open(t, table);
    rc = mdb_put(t->txn, t->store->dbi[table], &k, value, flags);
    if (rc == MDB_KEYEXIST) /* MDB_APPEND only: found before anything was written */
        return env_err(rc, "append record");
    t->wrote = true;
    return rc == 0 ? ERR_OK : txn_err(t, rc, "put record");
}

struct err store_put(struct store_txn *t, unsigned table, struct slice key, struct slice value)
{
    MDB_val v = val_of(value);

    return put(t, table, key, &v, 0);
}

struct err store_put_room(struct store_txn *t, unsigned table, struct slice key, size_t len,
                          char **room)
{
    MDB_val v = { len, NULL };
    struct err e = put(t, table, key, &v, MDB_RESERVE);

    *room = err_failed(e) ? NULL : v.mv_data;
    return e;
}

struct err store_append_room(struct store_txn *t, unsigned table, struct slice key, size_t len,
                             char **room)
{
    MDB_val v = { len, NULL };
    struct err e = put(t, table, key, &v, MDB_RESERVE | MDB_APPEND);

    if (e.kind == ERR_EXISTS) /* not the greatest after all: packs less tightly */
        return store_put_room(t, table, key, len, room);
    *room = err_failed(e) ? NULL : v.mv_data;
    return e;
}

struct err store_delete(struct store_txn *t, unsigned table, struct slice key)
{
    MDB_val k = val_of(key);
    int rc;

    assert(!t->read_only);
    if (!key_fits(key))
        return err_make(ERR_LIMIT, "key length");
    table_open(t, table);
    rc = mdb_del(t->txn, t->store->dbi[table], &k, NULL);
    if (rc != MDB_NOTFOUND)
        t->wrote = true;
    return rc == 0 ? ERR_OK : txn_err(t, rc, "delete record");
}

struct err store_delete_prefix(struct store_txn *t, unsigned table, struct slice prefix,
                               size_t *count)
{
    struct store_cursor *c;
    struct slice k, v;
    size_t n = 0;
    struct err e = store_cursor_open(t, table, &c);

    if (err_failed(e))
        return e;
    for (e = store_cursor_seek(c, prefix, &k, &v); !err_failed(e);
         e = store_cursor_next(c, &k, &v)) {
        if (!slice_eq(slice_head(k, prefix.len), prefix))
            break;
        e = store_cursor_delete(c);
        if (err_failed(e))
            break;
        n++;
    }
    store_cursor_close(c);
    if (count != NULL)
        *count = n;
    return e.kind == ERR_NOT_FOUND ? ERR_OK : e;
}

struct err store_cursor_open(struct store_txn *t, unsigned table, struct store_cursor **out)
{
    struct store_cursor *c = mem_new(struct store_cursor);

    *out = NULL;
    c->txn = t;
    c->absent = !table_open(t, table);
    if (!c->absent) {
        int rc = mdb_cursor_open(t->txn, t->store->dbi[table], &c->cursor);

        if (rc != 0) {
            free(c);
            return txn_err(t, rc, "open cursor");
        }
    }
    list_append(&t->cursors, &c->link);
    *out = c;
    return ERR_OK;
}

static struct err cursor_move(struct store_cursor *c, MDB_cursor_op op, struct slice key,
                              struct slice *k, struct slice *v)
{
    MDB_val mk = val_of(key), mv;
    int rc;

    if (c->absent)
        return err_make(ERR_NOT_FOUND, "walk records");
    rc = mdb_cursor_get(c->cursor, &mk, &mv, op);
    if (rc != 0)
        return txn_err(c->txn, rc, "walk records");
    *k = slice_of(mk);
    *v = slice_of(mv);
    return ERR_OK;
}

struct err store_cursor_seek(struct store_cursor *c, struct slice key, struct slice *k,
                             struct slice *v)
{
    struct err e;

    if (key.len > STORE_KEY_MAX)
        return err_make(ERR_LIMIT, "key length");
    e = cursor_move(c, key.len == 0 ? MDB_FIRST : MDB_SET_RANGE, key, k, v);
    c->past_end = e.kind == ERR_NOT_FOUND;
    return e;
}

struct err store_cursor_last(struct store_cursor *c, struct slice *k, struct slice *v)
{
    c->past_end = false;
    return cursor_move(c, MDB_LAST, SLICE_EMPTY, k, v);
}

struct err store_cursor_next(struct store_cursor *c, struct slice *k, struct slice *v)
{
    if (c->past_end)
        return err_make(ERR_NOT_FOUND, "walk records");
    return cursor_move(c, MDB_NEXT, SLICE_EMPTY, k, v);
}

struct err store_cursor_prev(struct store_cursor *c, struct slice *k, struct slice *v)
{
    if (c->past_end)
        return store_cursor_last(c, k, v);
    return cursor_move(c, MDB_PREV, SLICE_EMPTY, k, v);
}

struct err store_cursor_delete(struct store_cursor *c)
{
    int rc;

    assert(!c->txn->read_only);
    rc = mdb_cursor_del(c->cursor, 0);
    c->txn->wrote = true;
    return rc == 0 ? ERR_OK : txn_err(c->txn, rc, "delete record");
}

void store_cursor_close(struct store_cursor *c)
{
    if (c == NULL)
        return;
    list_remove(&c->link);
    if (!c->absent)
        mdb_cursor_close(c->cursor);
    free(c);
}
