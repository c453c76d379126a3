/* Damaged data files: what is not on a damaged page comes out, byte for byte, and
 * nothing torn comes out as whole. The damage is drawn anew many times from one
 * queue that has lived a while. */
#include "tests/unit/queue_fixture.h"

#include "queue/salvage.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#define MESSAGES 90u
#define TRIALS   400u
#define PAGE     4096u

static struct original {
    uint64_t id;
    bool alive;          /* not delivered */
    struct buf content;
    uint8_t *pages;      /* a flag each: it has a record, or a part of one, there */
} originals[MESSAGES];

static struct slice pristine;
static char *body_dir;

static struct original *original_of(uint64_t id)
{
    for (size_t i = 0; i < MESSAGES; i++)
        if (originals[i].id == id)
            return &originals[i];
    return NULL;
}

static void count_done(void *ctx, struct err e, struct message *m)
{
    struct queue_fix *f = ctx;

    f->done++;
    f->failed += err_failed(e);
}

static void committed(void *ctx, struct err e, struct message *m)
{
    assert_ok(e);
    *(uint64_t *)ctx = m->id;
}

static void add(struct queue_fix *f, struct original *o, struct rng *dice, size_t i)
{
    static const size_t sizes[] = { 20, 900, 1900, 2100, 4079, 4081, 9000, 50000, 140000 };
    struct slice to[3] = { SLICE("one@dest.test"), SLICE("two@dest.test"), SLICE("three@dest.test") };
    struct envelope env = { .reverse_path = SLICE("a@client.test"), .recipients = to, .recipient_count = 1 + i % 3,
                            .protocol = SLICE("ESMTP"), .client_addr = SLICE("192.0.2.1") };
    struct queue_draft *d = queue_draft_new(f->q, &f->loop);

    buf_printf(&o->content, "Subject: number %zu\r\n", i);
    if (i % 7 == 3) /* too long for its record */
        for (size_t n = 0; n < 100; n++)
            buf_printf(&o->content, "X-Long-%zu: %016llx%016llx\r\n", n, (unsigned long long)rng_u64(dice),
                       (unsigned long long)rng_u64(dice));
    buf_add_str(&o->content, "\r\n");
    for (size_t n = 0; n < sizes[i % countof(sizes)]; n += 18)
        buf_printf(&o->content, "%016llx\r\n", (unsigned long long)rng_u64(dice));
    queue_draft_append(d, buf_bytes(&o->content));
    queue_draft_commit(d, &env, committed, &o->id);
    queue_fix_settle(f);
    o->alive = true;
}

/* All recipients are delivered: the message goes, and its pages are free. */
static void deliver(struct queue_fix *f, struct original *o, size_t recipients)
{
    struct queue_change changes[3] = { 0 };
    struct queue_update u = { .id = o->id, .changes = changes, .change_count = recipients, .message_done = true,
                              .body_is_file = buf_len(&o->content) > 128 * KIB };

    for (size_t i = 0; i < recipients; i++)
        changes[i] = (struct queue_change){ .event = EVENT_DELIVERED, .final = true, .now = { .n = (uint32_t)i } };
    queue_apply(f->q, &u, &f->loop, count_done, f);
    queue_fix_settle(f);
    assert_int_equal(f->failed, 0);
    o->alive = false;
}

static struct slice read_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    char *bytes;

    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    bytes = malloc((size_t)st.st_size);
    assert_int_equal(read(fd, bytes, (size_t)st.st_size), st.st_size);
    close(fd);
    return slice_make(bytes, (size_t)st.st_size);
}

static void note_page(struct original *o, const char *at, size_t len)
{
    for (size_t n = (size_t)(at - pristine.ptr) / PAGE; n <= (size_t)(at + len - 1 - pristine.ptr) / PAGE; n++)
        o->pages[n] = 1;
}

static void note_pages(void *ctx, const struct wreck_record *r)
{
    struct original *o = r->key.len >= 8 ? original_of(codec_key_read_u64(r->key, 0)) : NULL;

    if (o == NULL || r->table > TABLE_BODY)
        return;
    note_page(o, r->key.ptr, r->key.len);
    note_page(o, r->key.ptr + r->key.len, 1);
    if (r->value.len > 0)
        note_page(o, r->value.ptr, r->value.len);
}

static int prepare(void **state)
{
    struct queue_fix *f = queue_fix_new();
    struct wreck_counts counts;
    struct rng dice;
    char path[4096];

    rng_seed(&dice, 12);
    for (size_t i = 0; i < MESSAGES; i++) {
        add(f, &originals[i], &dice, i);
        if (i % 5 == 4)
            deliver(f, &originals[i - 2], 1 + (i - 2) % 3);
    }
    queue_close(f->q);
    f->q = NULL;
    snprintf(path, sizeof path, "%s/queue/data.mdb", f->path);
    pristine = read_file(path);
    snprintf(path, sizeof path, "%s/body", f->path);
    body_dir = strdup(path);
    for (size_t i = 0; i < MESSAGES; i++)
        originals[i].pages = calloc(pristine.len / PAGE + 1, 1);
    wreck_read(pristine, queue_table_names, QUEUE_TABLE_COUNT, note_pages, NULL, &counts);
    assert_true(counts.damaged == 0 && !counts.tree_lost);
    *state = f;
    return 0;
}

static int put_away(void **state)
{
    for (size_t i = 0; i < MESSAGES; i++) {
        buf_release(&originals[i].content);
        free(originals[i].pages);
    }
    free((char *)(uintptr_t)pristine.ptr);
    free(body_dir);
    queue_fix_free(*state);
    return 0;
}

struct found {
    unsigned whole[MESSAGES], certain[MESSAGES], damaged;
};

static bool body_is(const struct salvaged *s, struct slice expected)
{
    char *bytes;
    ssize_t n;
    bool same;

    if (s->body_fd < 0)
        return slice_eq(s->body, expected);
    bytes = malloc(expected.len + 1);
    n = pread(s->body_fd, bytes, expected.len + 1, 0);
    same = n >= 0 && slice_eq(slice_make(bytes, (size_t)n), expected);
    free(bytes);
    return same;
}

static bool check(void *ctx, const struct salvaged *s)
{
    struct found *f = ctx;
    struct original *o = original_of(s->id);
    struct slice content;

    if (s->outcome != SALVAGE_WHOLE) {
        f->damaged++;
        return true;
    }
    assert_non_null(o); /* an id of none of ours cannot have a good record */
    content = buf_bytes(&o->content);
    assert_true(slice_eq(s->header, slice_head(content, s->header.len)));
    assert_true(body_is(s, slice_from(content, s->header.len)));
    assert_true(slice_eq(s->message->reverse_path, SLICE("a@client.test")));
    for (size_t i = 0; i < s->recipient_count; i++)
        assert_non_null(memmem(s->recipients[i].address.ptr, s->recipients[i].address.len, "@dest.test", 10));
    f->whole[o - originals]++;
    f->certain[o - originals] += s->certain;
    return true;
}

static void test_12_a_good_file_gives_what_is_alive_and_nothing_else(void **state)
{
    struct found f = { 0 };
    struct wreck_counts counts;

    queue_salvage_bytes(pristine, body_dir, check, &f, &counts);
    assert_int_equal(f.damaged, 0);
    for (size_t i = 0; i < MESSAGES; i++)
        assert_int_equal(f.certain[i], originals[i].alive);
}

/* Flips up to eight bytes in each of so many pages. */
static void damage(char *file, uint8_t *hit, size_t pages, struct rng *dice)
{
    for (size_t i = 0; i < pages; i++) {
        size_t n = rng_below(dice, pristine.len / PAGE);
        size_t flips = 1 + rng_below(dice, 8);

        hit[n] = 1;
        for (size_t b = 0; b < flips; b++) {
            /* Half of them where structure is: headers of pages, lists of nodes. */
            size_t at = rng_below(dice, rng_below(dice, 2) == 0 ? 64 : PAGE);

            file[n * PAGE + at] ^= (char)(1 + rng_below(dice, 255));
        }
    }
}

static bool untouched(const struct original *o, const uint8_t *hit)
{
    for (size_t n = 0; n < pristine.len / PAGE; n++)
        if (o->pages[n] && hit[n])
            return false;
    return true;
}

static void try_damage(size_t pages, unsigned trials, uint64_t seed)
{
    size_t all = pristine.len / PAGE, came = 0, lost = 0;

    for (unsigned trial = 0; trial < trials; trial++) {
        char *file = malloc(pristine.len);
        uint8_t *hit = calloc(all, 1);
        struct found f = { 0 };
        struct wreck_counts counts;
        struct rng dice;

        rng_seed(&dice, seed + trial);
        memcpy(file, pristine.ptr, pristine.len);
        damage(file, hit, pages, &dice);
        queue_salvage_bytes(slice_make(file, pristine.len), body_dir, check, &f, &counts);
        for (size_t i = 0; i < MESSAGES; i++) {
            if (!originals[i].alive)
                continue;
            if (f.whole[i] == 0 && untouched(&originals[i], hit))
                fail_msg("trial %u of %zu pages: message %zu is on no damaged page and did not come out", trial, pages, i);
            came += f.whole[i] != 0;
            lost += f.whole[i] == 0;
        }
        free(file);
        free(hit);
    }
    assert_true(came > 0);
    assert_true(lost > 0); /* or the damage was none */
}

static void test_12_one_damaged_page(void **state)
{
    try_damage(1, TRIALS, 1000);
}

static void test_12_ten_damaged_pages(void **state)
{
    try_damage(10, TRIALS, 2000);
}

static void test_12_a_hundred_damaged_pages(void **state)
{
    try_damage(100, TRIALS, 3000);
}

/* ---- bodies in files of their own -------------------------------------------------- */

static bool in_file(const struct original *o)
{
    return o->alive && buf_len(&o->content) > 128 * KIB;
}

static void assert_only_files_missing(const struct found *f, unsigned missing)
{
    assert_int_equal(f->damaged, missing);
    for (size_t i = 0; i < MESSAGES; i++)
        if (originals[i].alive && (!in_file(&originals[i]) || missing == 0))
            assert_int_equal(f->whole[i], 1);
}

static unsigned files_there(void)
{
    unsigned n = 0;

    for (size_t i = 0; i < MESSAGES; i++)
        n += in_file(&originals[i]);
    return n;
}

/* Finds the file of the first that has one. */
static bool find_file(void *ctx, const struct salvaged *s)
{
    char link[64];
    ssize_t n;

    if (s->body_fd < 0)
        return true;
    snprintf(link, sizeof link, "/proc/self/fd/%d", s->body_fd);
    n = readlink(link, ctx, 4095);
    assert_true(n > 0);
    ((char *)ctx)[n] = '\0';
    return false; /* and that is enough */
}

static void salvage_all(struct found *f)
{
    struct wreck_counts counts;

    *f = (struct found){ 0 };
    queue_salvage_bytes(pristine, body_dir, check, f, &counts);
}

static void test_12_body_files_that_are_damaged(void **state)
{
    struct wreck_counts counts;
    char path[4096] = "", aside[4200];
    struct found f;
    struct stat st;
    char byte;
    int fd;

    queue_salvage_bytes(pristine, body_dir, find_file, path, &counts);
    assert_true(path[0] == '/');
    fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);

    assert_int_equal(pread(fd, &byte, 1, 70000), 1); /* one byte is another */
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, 70000), 1);
    salvage_all(&f);
    assert_only_files_missing(&f, 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, 70000), 1);
    salvage_all(&f);
    assert_only_files_missing(&f, 0);

    assert_int_equal(ftruncate(fd, st.st_size + 1), 0); /* it is longer */
    salvage_all(&f);
    assert_only_files_missing(&f, 1);
    assert_int_equal(ftruncate(fd, st.st_size), 0);
    close(fd);

    snprintf(aside, sizeof aside, "%s.aside", path); /* it is gone */
    assert_int_equal(rename(path, aside), 0);
    salvage_all(&f);
    assert_only_files_missing(&f, 1);
    assert_int_equal(mkdir(path, 0700), 0); /* it can't be read */
    salvage_all(&f);
    assert_only_files_missing(&f, 1);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rename(aside, path), 0);

    f = (struct found){ 0 };
    queue_salvage_bytes(pristine, NULL, check, &f, &counts); /* all are gone */
    assert_only_files_missing(&f, files_there());
}

static void test_12_the_folder_of_a_queue(void **state)
{
    struct queue_fix *fix = *state;
    struct wreck_counts counts;
    struct found f = { 0 };

    assert_ok(queue_salvage(fix->path, check, &f, &counts));
    assert_only_files_missing(&f, 0);
    assert_err(queue_salvage(body_dir, check, &f, &counts), ERR_NOT_FOUND);
}

/* A file cut anywhere, and one of nothing but noise. */
static void test_12_no_file_at_all(void **state)
{
    struct wreck_counts counts;
    struct found f;
    struct rng dice;

    rng_seed(&dice, 4);
    for (size_t len = 0; len < pristine.len; len += 1 + rng_below(&dice, 3 * PAGE)) {
        char *cut = malloc(len + 1);

        f = (struct found){ 0 };
        memcpy(cut, pristine.ptr, len);
        queue_salvage_bytes(slice_make(cut, len), body_dir, check, &f, &counts);
        for (size_t i = 0; i < len; i++)
            cut[i] = (char)rng_u64(&dice);
        queue_salvage_bytes(slice_make(cut, len), body_dir, check, &f, &counts);
        free(cut);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_12_a_good_file_gives_what_is_alive_and_nothing_else),
        cmocka_unit_test(test_12_one_damaged_page),
        cmocka_unit_test(test_12_ten_damaged_pages),
        cmocka_unit_test(test_12_a_hundred_damaged_pages),
        cmocka_unit_test(test_12_body_files_that_are_damaged),
        cmocka_unit_test(test_12_the_folder_of_a_queue),
        cmocka_unit_test(test_12_no_file_at_all),
    };

    return cmocka_run_group_tests(tests, prepare, put_away);
}
