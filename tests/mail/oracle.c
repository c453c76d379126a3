/* tests/mail/oracle.c - the notices and the seven-bit variants that mail/
 * makes, on standard output, so that tests in another language can judge them.
 *
 *   oracle downgrade < message     exit 3 when it can't be done
 *   oracle dsn < description       lines of a key and a value in hexadecimal;
 *                                  "recipient" begins the next recipient
 */
#include "mail/dsn.h"
#include "mail/header.h"
#include "mail/mime.h"

#include <stdio.h>
#include <stdlib.h>

static struct buf read_all(void)
{
    struct buf in = { 0 };
    size_t n;

    while ((n = fread(buf_reserve(&in, 65536), 1, 65536, stdin)) > 0)
        buf_extend(&in, n);
    return in;
}

static void write_all(struct buf *b)
{
    if (buf_len(b) > 0)
        fwrite(buf_bytes(b).ptr, 1, buf_len(b), stdout);
    buf_release(b);
}

static int downgrade(void)
{
    struct buf in = read_all(), header = { 0 }, body = { 0 };
    struct mail_header_scan scan = { 0 };
    struct err e;

    mail_header_scan(&scan, buf_bytes(&in), true);
    e = mail_downgrade(slice_head(buf_bytes(&in), scan.size), slice_from(buf_bytes(&in), scan.size),
                       &header, &body);
    if (err_failed(e))
        fprintf(stderr, "%s\n", e.what);
    write_all(&header);
    write_all(&body);
    buf_release(&in);
    return err_failed(e) ? 3 : 0;
}

/* In place, with a NUL behind it. */
static struct slice unhex(struct slice hex)
{
    char *out = (char *)(uintptr_t)hex.ptr;

    for (size_t i = 0; i + 1 < hex.len; i += 2) {
        char pair[3] = { hex.ptr[i], hex.ptr[i + 1], '\0' };

        out[i / 2] = (char)strtoul(pair, NULL, 16);
    }
    out[hex.len / 2] = '\0';
    return slice_make(out, hex.len / 2);
}

static uint64_t number(struct slice s)
{
    uint64_t n = 0;

    return slice_u64(s, &n) ? n : 0;
}

static void set_recipient(struct mail_dsn_recipient *r, struct slice key, struct slice value)
{
    size_t used;

    if (slice_eq(key, SLICE("recipient")))
        r->final_recipient = value;
    else if (slice_eq(key, SLICE("orcpt")))
        r->original_recipient = value;
    else if (slice_eq(key, SLICE("status")))
        mail_status_parse(value, &r->status, &used);
    else if (slice_eq(key, SLICE("code")))
        r->code = (unsigned)number(value);
    else if (slice_eq(key, SLICE("text")))
        r->reply_text = value;
    else if (slice_eq(key, SLICE("mta")))
        r->remote_mta = value;
    else if (slice_eq(key, SLICE("last")))
        r->last_attempt_wall_ms = number(value);
    else if (slice_eq(key, SLICE("until")))
        r->retry_until_wall_ms = number(value);
}

static void set_dsn(struct mail_dsn *d, struct slice key, struct slice value)
{
    if (slice_eq(key, SLICE("action")))
        d->action = (enum mail_dsn_action)number(value);
    else if (slice_eq(key, SLICE("sender")))
        d->sender = value;
    else if (slice_eq(key, SLICE("envid")))
        d->envelope_id = value;
    else if (slice_eq(key, SLICE("header")))
        d->original_header = value;
    else if (slice_eq(key, SLICE("body")))
        d->original_body = value;
    else if (slice_eq(key, SLICE("smtputf8")))
        d->smtputf8 = true;
    else if (slice_eq(key, SLICE("id")))
        d->dsn_id = value.ptr;
}

static int dsn(void)
{
    static struct mail_dsn_recipient recipients[16];
    struct mail_dsn d = { .reporting_mta = "mx.example.com",
                          .queue_id = "0194abcd01234567",
                          .dsn_id = "0194abcd89",
                          .arrival_wall_ms = 1795449912000,
                          .now_wall_ms = 1795453512000,
                          .recipients = recipients };
    struct buf in = read_all(), header = { 0 }, body = { 0 };
    struct slice rest = buf_bytes(&in), line, key;

    while (slice_split(&rest, '\n', &line)) {
        struct slice value;

        slice_split(&line, ' ', &key);
        value = unhex(line);
        if (slice_eq(key, SLICE("recipient")) && d.recipient_count < 16)
            d.recipient_count++;
        if (d.recipient_count > 0)
            set_recipient(&recipients[d.recipient_count - 1], key, value);
        set_dsn(&d, key, value);
    }
    mail_dsn_format(&d, &header, &body);
    write_all(&header);
    write_all(&body);
    buf_release(&in);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "downgrade") == 0)
        return downgrade();
    if (argc == 2 && strcmp(argv[1], "dsn") == 0)
        return dsn();
    fprintf(stderr, "usage: oracle downgrade|dsn\n");
    return 64;
}
