/* Records: what is written is read; what was cut, flipped or written by
 * another release is told, and never read past its end. */
#include "tests/unit/check.h"

#include "queue/record.h"

static struct message sample_message(void)
{
    return (struct message){
        .received_wall_ms = 1795449912345ull,
        .flags = MESSAGE_EIGHT_BIT | MESSAGE_DSN,
        .body_place = BODY_BLOB,
        .header = SLICE("Subject: x\r\n\r\n"),
        .header_bytes = 14,
        .body_bytes = 1ull << 40,
        .header_crc = 0xdeadbeef,
        .body_crc = 7,
        .recipient_total = 3,
        .reverse_path = SLICE("a@example.com"),
        .client_addr = SLICE("192.0.2.1"),
        .client_name = SLICE("client"),
        .helo = SLICE("helo\0nul"),
        .protocol = SLICE("ESMTP"),
        .message_id = SLICE("1@x"),
        .envelope_id = SLICE("QQ+2B1"),
    };
}

static struct recipient sample_recipient(void)
{
    return (struct recipient){
        .state = RECIPIENT_HELD,
        .flags = RECIPIENT_IN_DOUBT | RECIPIENT_WARNED,
        .attempts = 9,
        .next_wall_ms = 11,
        .last_wall_ms = 10,
        .code = 451,
        .status = { 4, 7, 1 },
        .address = SLICE("b@example.com"),
        .reverse_path = SLICE(""),
        .reply = SLICE("later\nplease"),
        .relay = SLICE("mx[192.0.2.2]:25"),
        .wish = { MAIL_NOTIFY_SUCCESS | MAIL_NOTIFY_DELAY, SLICE("rfc822;b+2Bc@example.com") },
        .release_wall_ms = 1795449999999ull,
    };
}

static struct event sample_event(void)
{
    return (struct event){
        .type = EVENT_BOUNCED,
        .wall_ms = 5,
        .code = 550,
        .status = { 5, 1, 1 },
        .attempts = 2,
        .size_bytes = 77,
        .recipient_count = 4,
        .delay_ms = 1234,
        .recipient = SLICE("r@x"),
        .reverse_path = SLICE("s@x"),
        .message_id = SLICE("m@x"),
        .relay = SLICE("host"),
        .text = SLICE("no"),
        .tls = SLICE("TLSv1.3 X verified"),
    };
}

static void numbers_and_strings(void **state)
{
    struct buf b = { 0 };
    struct codec_reader r;

    codec_put_u8(&b, 0xfe);
    codec_put_u16(&b, 0xfedc);
    codec_put_u32(&b, 0xfedcba98);
    codec_put_u64(&b, 0xfedcba9876543210ull);
    codec_put_bytes(&b, SLICE("with \0 inside"));
    codec_put_bytes(&b, SLICE_EMPTY);
    codec_seal(&b, 0);
    assert_ok(codec_open(buf_bytes(&b), &r));
    assert_int_equal(codec_u8(&r), 0xfe);
    assert_int_equal(codec_u16(&r), 0xfedc);
    assert_int_equal(codec_u32(&r), 0xfedcba98);
    assert_true(codec_u64(&r) == 0xfedcba9876543210ull);
    assert_true(slice_eq(codec_bytes(&r), SLICE("with \0 inside")));
    assert_int_equal(codec_bytes(&r).len, 0);
    assert_false(r.fault);
    assert_int_equal(r.rest.len, 0);
    buf_release(&b);
}

/* A fault sticks: later values are zero, though bytes are left. */
static void a_fault_sticks(void **state)
{
    struct buf b = { 0 };
    struct codec_reader r;

    codec_put_u32(&b, 1000); /* the length of a string that is not there */
    codec_put_u64(&b, 42);
    codec_seal(&b, 0);
    assert_ok(codec_open(buf_bytes(&b), &r));
    assert_int_equal(codec_bytes(&r).len, 0);
    assert_true(r.fault);
    assert_int_equal(codec_u64(&r), 0);
    assert_int_equal(codec_u8(&r), 0);
    buf_release(&b);
}

static void keys_sort_as_numbers(void **state)
{
    static const uint64_t n[] = { 0, 1, 255, 256, 65536, 1ull << 40, UINT64_MAX };

    for (size_t i = 0; i + 1 < countof(n); i++) {
        struct codec_key a = codec_key_u64_u32(n[i], UINT32_MAX), b = codec_key_u64_u32(n[i + 1], 0);

        assert_true(memcmp(a.bytes, b.bytes, a.len) < 0);
        assert_true(codec_key_read_u64(codec_key_slice(&a), 0) == n[i]);
        assert_int_equal(codec_key_read_u32(codec_key_slice(&a), 8), UINT32_MAX);
    }
    assert_int_equal(codec_key_read_u64(SLICE("short"), 0), 0);
    assert_int_equal(codec_key_read_u32(SLICE("12345678abc"), 8), 0);
}

static void message_there_and_back(void **state)
{
    struct message m = sample_message(), got = { 0 };
    struct buf b = { 0 };
    bool header_inline = false;

    record_message_put(&b, &m, &header_inline);
    assert_true(header_inline);
    header_inline = false;
    assert_ok(record_message_get(buf_bytes(&b), &got, &header_inline));
    assert_true(header_inline);
    assert_true(got.received_wall_ms == m.received_wall_ms);
    assert_int_equal(got.flags, m.flags);
    assert_int_equal(got.body_place, BODY_BLOB);
    assert_true(got.body_bytes == m.body_bytes);
    assert_int_equal(got.header_crc, m.header_crc);
    assert_int_equal(got.recipient_total, 3);
    assert_true(slice_eq(got.helo, m.helo));
    assert_true(slice_eq(got.message_id, m.message_id));
    assert_slice_str(got.envelope_id, "QQ+2B1");
    assert_true(slice_eq(got.header, m.header));
    buf_release(&b);
}

/* The header leaves its record exactly when that would outgrow its leaf. */
static void long_header_is_not_inline(void **state)
{
    bool seen_inline = false, seen_apart = false;

    for (size_t len = 1700; len < 2000; len++) {
        struct message m = sample_message();
        struct buf b = { 0 };
        char *header = calloc(1, len);
        bool header_inline;

        m.header = slice_make(header, len);
        m.header_bytes = len;
        record_message_put(&b, &m, &header_inline);
        assert_true(buf_len(&b) <= RECORD_LEAF_MAX);
        assert_true(header_inline || seen_inline);
        assert_false(header_inline && seen_apart);
        seen_inline = seen_inline || header_inline;
        seen_apart = seen_apart || !header_inline;
        free(header);
        buf_release(&b);
    }
    assert_true(seen_inline && seen_apart);
}

static void recipient_there_and_back(void **state)
{
    struct recipient r = sample_recipient(), got = { 0 };
    struct buf b = { 0 };

    buf_add_str(&b, "in front"); /* a record may begin anywhere in a buffer */
    record_recipient_put(&b, &r);
    assert_ok(record_recipient_get(slice_from(buf_bytes(&b), 8), &got));
    assert_int_equal(got.state, RECIPIENT_HELD);
    assert_int_equal(got.flags, r.flags);
    assert_int_equal(got.attempts, 9);
    assert_int_equal(got.code, 451);
    assert_int_equal(got.status.subject, 7);
    assert_slice_str(got.address, "b@example.com");
    assert_slice_str(got.reply, "later\nplease");
    assert_slice_str(got.relay, "mx[192.0.2.2]:25");
    assert_int_equal(got.wish.notify, r.wish.notify);
    assert_slice_str(got.wish.original, "rfc822;b+2Bc@example.com");
    assert_true(got.release_wall_ms == r.release_wall_ms);
    buf_release(&b);
}

/* ---- of the release before ------------------------------------------------------ */

static void put_status_1(struct buf *b, struct mail_status st)
{
    codec_put_u16(b, st.class_);
    codec_put_u16(b, st.subject);
    codec_put_u16(b, st.detail);
}

/* As it wrote them; not to be changed. */
static void put_message_1(struct buf *b, const struct message *m)
{
    codec_put_u8(b, 1);
    codec_put_u64(b, m->received_wall_ms);
    codec_put_u32(b, m->flags);
    codec_put_u8(b, (uint8_t)m->body_place);
    codec_put_u64(b, m->header_bytes);
    codec_put_u64(b, m->body_bytes);
    codec_put_u32(b, m->header_crc);
    codec_put_u32(b, m->body_crc);
    codec_put_u32(b, m->recipient_total);
    codec_put_bytes(b, m->reverse_path);
    codec_put_bytes(b, m->client_addr);
    codec_put_bytes(b, m->client_name);
    codec_put_bytes(b, m->helo);
    codec_put_bytes(b, m->protocol);
    codec_put_bytes(b, m->message_id);
    codec_put_u8(b, 1);
    codec_put_bytes(b, m->header);
    codec_seal(b, 0);
}

static void put_recipient_1(struct buf *b, const struct recipient *r)
{
    codec_put_u8(b, 1);
    codec_put_u8(b, r->state);
    codec_put_u8(b, r->flags);
    codec_put_u32(b, r->attempts);
    codec_put_u64(b, r->next_wall_ms);
    codec_put_u64(b, r->last_wall_ms);
    codec_put_u32(b, r->code);
    put_status_1(b, r->status);
    codec_put_bytes(b, r->address);
    codec_put_bytes(b, r->reverse_path);
    codec_put_bytes(b, r->reply);
    codec_put_bytes(b, r->relay);
    codec_seal(b, 0);
}

/* Its records are read, with nothing where it knew of nothing, and are new
 * when they are written again. */
static void test_24_the_release_before_is_read(void **state)
{
    struct message m = sample_message(), got_m = { .envelope_id = SLICE("stale") };
    struct recipient r = sample_recipient(), got_r = { .release_wall_ms = 1, .wish = { 9, SLICE("stale") } };
    struct buf old = { 0 }, again = { 0 };
    bool header_inline = false;

    put_message_1(&old, &m);
    assert_ok(record_message_get(buf_bytes(&old), &got_m, &header_inline));
    assert_true(header_inline);
    assert_slice_str(got_m.header, "Subject: x\r\n\r\n");
    assert_slice_str(got_m.message_id, "1@x");
    assert_int_equal(got_m.envelope_id.len, 0);
    record_message_put(&again, &got_m, &header_inline);
    assert_int_equal(buf_bytes(&again).ptr[0], 2);
    buf_clear(&again);
    buf_release(&old);

    put_recipient_1(&old, &r);
    assert_ok(record_recipient_get(buf_bytes(&old), &got_r));
    assert_slice_str(got_r.relay, "mx[192.0.2.2]:25");
    assert_int_equal(got_r.attempts, 9);
    assert_int_equal(got_r.wish.notify, 0);
    assert_int_equal(got_r.wish.original.len, 0);
    assert_int_equal(got_r.release_wall_ms, 0);
    record_recipient_put(&again, &got_r);
    assert_int_equal(buf_bytes(&again).ptr[0], 2);
    buf_release(&again);
    buf_release(&old);
}

/* A record of the release before that is longer than it could be is damage. */
static void test_24_nothing_hides_behind_an_old_record(void **state)
{
    struct recipient r = sample_recipient();
    struct buf b = { 0 }, longer = { 0 };

    put_recipient_1(&b, &r);
    buf_add(&longer, slice_head(buf_bytes(&b), buf_len(&b) - 4));
    codec_put_u8(&longer, 0);
    codec_seal(&longer, 0);
    assert_err(record_recipient_get(buf_bytes(&longer), &r), ERR_CORRUPT);
    buf_release(&b);
    buf_release(&longer);
}

/* One record of each kind, byte for byte as a release before wrote it to a disk. */
static void test_24_bytes_of_the_release_before(void **state)
{
    static const char message[] =
        "\x01\x00\x00\x01\xa2\x0a\x00\x00\x01\x00\x00\x00\x01\x01" /* version, received, flags, place */
        "\x00\x00\x00\x00\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00\x03" /* bytes of header and body */
        "\x01\x02\x03\x04\x05\x06\x07\x08\x00\x00\x00\x02" /* their checksums, recipients */
        "\x00\x00\x00\x03s@x\x00\x00\x00\x03::1\x00\x00\x00\x00\x00\x00\x00\x01h" /* sender, client, its name, helo */
        "\x00\x00\x00\x05" "ESMTP\x00\x00\x00\x03m@x" /* protocol, Message-ID */
        "\x01\x00\x00\x00\x06" "a: b\r\n"; /* the header */
    static const char recipient[] =
        "\x01\x01\x02\x00\x00\x00\x03" /* version, queued, in doubt, attempts */
        "\x00\x00\x01\xa2\x0a\x00\x00\x02\x00\x00\x01\xa2\x0a\x00\x00\x01" /* next, last */
        "\x00\x00\x01\xc3\x00\x04\x00\x07\x00\x01" /* 451 4.7.1 */
        "\x00\x00\x00\x03r@x\x00\x00\x00\x03s@x\x00\x00\x00\x02no\x00\x00\x00\x02mx"; /* address, sender, reply, relay */
    struct buf b = { 0 };
    struct message m = { 0 };
    struct recipient r = { 0 };
    bool header_inline = false;

    buf_add(&b, slice_make(message, sizeof message - 1));
    codec_seal(&b, 0);
    assert_ok(record_message_get(buf_bytes(&b), &m, &header_inline));
    assert_true(m.received_wall_ms == 0x1a20a000001ull && m.header_bytes == 6 && m.body_bytes == 3);
    assert_int_equal(m.body_crc, 0x05060708);
    assert_slice_str(m.reverse_path, "s@x");
    assert_slice_str(m.client_addr, "::1");
    assert_slice_str(m.protocol, "ESMTP");
    assert_slice_str(m.header, "a: b\r\n");
    buf_clear(&b);
    buf_add(&b, slice_make(recipient, sizeof recipient - 1));
    codec_seal(&b, 0);
    assert_ok(record_recipient_get(buf_bytes(&b), &r));
    assert_int_equal(r.state, RECIPIENT_QUEUED);
    assert_int_equal(r.flags, RECIPIENT_IN_DOUBT);
    assert_true(r.next_wall_ms == 0x1a20a000002ull && r.last_wall_ms == 0x1a20a000001ull);
    assert_int_equal(r.code, 451);
    assert_int_equal(r.status.subject, 7);
    assert_slice_str(r.address, "r@x");
    assert_slice_str(r.relay, "mx");
    buf_release(&b);
}

/* One of a release to come is not guessed at. */
static void test_24_a_later_record_is_refused(void **state)
{
    struct message m = sample_message();
    struct recipient r = sample_recipient();
    struct event e = sample_event();
    struct buf b[4] = { { 0 } };
    struct slice fields;
    unsigned parts;
    bool header_inline;

    record_message_put(&b[0], &m, &header_inline);
    record_recipient_put(&b[1], &r);
    record_event_put(&b[2], &e);
    record_signature_put(&b[3], 1, SLICE("DKIM-Signature: x"));
    for (size_t i = 0; i < countof(b); i++) {
        struct buf later = { 0 };

        buf_add(&later, slice_head(buf_bytes(&b[i]), buf_len(&b[i]) - 4));
        later.ptr[0]++;
        codec_seal(&later, 0);
        buf_release(&b[i]);
        b[i] = later;
    }
    assert_err(record_message_get(buf_bytes(&b[0]), &m, &header_inline), ERR_VERSION);
    assert_err(record_recipient_get(buf_bytes(&b[1]), &r), ERR_VERSION);
    assert_err(record_event_get(buf_bytes(&b[2]), &e), ERR_VERSION);
    assert_err(record_signature_get(buf_bytes(&b[3]), &parts, &fields), ERR_VERSION);
    for (size_t i = 0; i < countof(b); i++)
        buf_release(&b[i]);
}

static void long_reply_is_cut(void **state)
{
    struct recipient r = sample_recipient(), got = { 0 };
    struct buf b = { 0 };
    char *reply = calloc(1, 100000);

    memset(reply, 'x', 100000);
    r.reply = slice_make(reply, 100000);
    record_recipient_put(&b, &r);
    assert_ok(record_recipient_get(buf_bytes(&b), &got));
    assert_int_equal(got.reply.len, RECIPIENT_REPLY_MAX);
    free(reply);
    buf_release(&b);
}

static void event_there_and_back(void **state)
{
    struct event e = sample_event(), got = { 0 };
    struct buf b = { 0 };

    record_event_put(&b, &e);
    assert_ok(record_event_get(buf_bytes(&b), &got));
    assert_int_equal(got.type, EVENT_BOUNCED);
    assert_true(got.delay_ms == 1234);
    assert_int_equal(got.recipient_count, 4);
    assert_slice_str(got.text, "no");
    assert_slice_str(got.reverse_path, "s@x");
    assert_slice_str(got.tls, "TLSv1.3 X verified");
    buf_release(&b);
}

/* Of the release before: without the session's TLS. */
static void test_24_event_of_the_release_before(void **state)
{
    struct event e = sample_event(), got = { 0 };
    struct buf b = { 0 }, old = { 0 };

    e.tls = SLICE_EMPTY;
    record_event_put(&b, &e);
    buf_add(&old, slice_head(buf_bytes(&b), buf_len(&b) - 8)); /* the empty string and the checksum */
    old.ptr[0] = 1;
    codec_seal(&old, 0);
    assert_ok(record_event_get(buf_bytes(&old), &got));
    assert_slice_str(got.text, "no");
    assert_int_equal(got.tls.len, 0);
    buf_release(&b);
    buf_release(&old);
}

/* ---- spoiled ----------------------------------------------------------------- */

enum kind { MESSAGE, RECIPIENT, EVENT };

static void put(enum kind k, struct buf *b)
{
    struct message m = sample_message();
    struct recipient r = sample_recipient();
    struct event e = sample_event();
    bool header_inline;

    if (k == MESSAGE)
        record_message_put(b, &m, &header_inline);
    else if (k == RECIPIENT)
        record_recipient_put(b, &r);
    else
        record_event_put(b, &e);
}

static struct err get(enum kind k, struct slice record)
{
    struct message m = { 0 };
    struct recipient r = { 0 };
    struct event e = { 0 };
    bool header_inline;

    if (k == MESSAGE)
        return record_message_get(record, &m, &header_inline);
    return k == RECIPIENT ? record_recipient_get(record, &r) : record_event_get(record, &e);
}

/* In memory of its own, so that a sanitizer sees one byte too far. */
static struct err get_copy(enum kind k, const char *bytes, size_t len)
{
    char *copy = malloc(len != 0 ? len : 1);
    struct err e;

    memcpy(copy, bytes, len);
    e = get(k, slice_make(copy, len));
    free(copy);
    return e;
}

static void every_truncation_is_found(void **state)
{
    for (enum kind k = MESSAGE; k <= EVENT; k++) {
        struct buf b = { 0 };

        put(k, &b);
        for (size_t len = 0; len < buf_len(&b); len++)
            assert_err(get_copy(k, buf_bytes(&b).ptr, len), ERR_CORRUPT);
        buf_release(&b);
    }
}

static void every_flipped_bit_is_found(void **state)
{
    for (enum kind k = MESSAGE; k <= EVENT; k++) {
        struct buf b = { 0 };
        size_t len;
        char *p;

        put(k, &b);
        len = buf_len(&b);
        p = buf_detach(&b);
        for (size_t i = 0; i < len * 8; i++) {
            p[i / 8] ^= (char)(1 << i % 8);
            assert_err(get_copy(k, p, len), ERR_CORRUPT);
            p[i / 8] ^= (char)(1 << i % 8);
        }
        assert_ok(get_copy(k, p, len));
        free(p);
    }
}

/* With a right checksum, but the content of another: cut inside, longer, or
 * of a version not known. */
static void sealed_nonsense_is_found(void **state)
{
    for (enum kind k = MESSAGE; k <= EVENT; k++) {
        struct buf b = { 0 };
        size_t len;

        put(k, &b);
        len = buf_len(&b) - 4; /* without its seal */
        for (size_t cut = 0; cut <= len + 1; cut++) {
            struct buf again = { 0 };

            if (cut == len)
                continue; /* that is the record itself */
            buf_add(&again, slice_head(buf_bytes(&b), cut < len ? cut : len));
            if (cut > len)
                buf_add_byte(&again, 0);
            codec_seal(&again, 0);
            assert_int_not_equal(get(k, buf_bytes(&again)).kind, ERR_NONE);
            buf_release(&again);
        }
        {
            struct buf again = { 0 };

            buf_add_byte(&again, 99);
            buf_add(&again, slice_from(slice_head(buf_bytes(&b), len), 1));
            codec_seal(&again, 0);
            assert_err(get(k, buf_bytes(&again)), ERR_VERSION);
            buf_release(&again);
        }
        buf_release(&b);
    }
}

static void unknown_state_is_corrupt(void **state)
{
    static const uint8_t states[] = { 0, 3, 255 };

    for (size_t i = 0; i < countof(states); i++) {
        struct recipient r = sample_recipient();
        struct buf b = { 0 };

        r.state = states[i];
        record_recipient_put(&b, &r);
        assert_err(record_recipient_get(buf_bytes(&b), &r), ERR_CORRUPT);
        buf_release(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_and_strings),       cmocka_unit_test(a_fault_sticks),
        cmocka_unit_test(keys_sort_as_numbers),      cmocka_unit_test(message_there_and_back),
        cmocka_unit_test(long_header_is_not_inline), cmocka_unit_test(recipient_there_and_back),
        cmocka_unit_test(long_reply_is_cut),         cmocka_unit_test(event_there_and_back),
        cmocka_unit_test(test_24_event_of_the_release_before),
        cmocka_unit_test(every_truncation_is_found), cmocka_unit_test(every_flipped_bit_is_found),
        cmocka_unit_test(sealed_nonsense_is_found),  cmocka_unit_test(unknown_state_is_corrupt),
        cmocka_unit_test(test_24_bytes_of_the_release_before), cmocka_unit_test(test_24_a_later_record_is_refused),
        cmocka_unit_test(test_24_the_release_before_is_read), cmocka_unit_test(test_24_nothing_hides_behind_an_old_record),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
