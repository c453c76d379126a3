/* tests/sim/ledger.c - what was promised to whom, and what has become of it
 * as the world outside sees it.
 */
#include "tests/sim/sim.h"

#include "mail/param.h"

#define SLACK_MS 2u /* clocks are read once a turn */

/* ---- making messages ------------------------------------------------------------ */

static const struct domain *some_domain(struct sim *sim)
{
    return &sim->zone.domains[1 + roll(sim, sim->zone.domain_count - 1)];
}

static void make_sender(struct sim *sim, struct msg *m)
{
    struct buf b = { 0 };

    if (chance(sim, 8)) {
        m->reverse_path = mem_str("");
        return;
    }
    /* A few senders, so that turns among them matter; their local part tells
     * the message. */
    m->from_domain = chance(sim, 85) ? &sim->zone.domains[0] : some_domain(sim);
    buf_printf(&b, "s%u@%s", m->token, m->from_domain->name);
    m->reverse_path = buf_detach(&b);
}

static struct rcpt *make_recipient(struct msg *m, size_t i, const struct domain *d)
{
    struct rcpt *r = &m->rcpts[i];
    struct buf b = { 0 };

    r->msg = m;
    r->n = (unsigned)i;
    r->domain = d;
    buf_printf(&b, "r%ux%zu@%s", m->token, i, d->name);
    r->address = buf_detach(&b);
    return r;
}

static void make_recipients(struct sim *sim, struct msg *m)
{
    const struct domain *d = some_domain(sim);

    m->count = chance(sim, 50) ? 1 : chance(sim, 80) ? 1 + roll(sim, 5) : 1 + roll(sim, 40);
    m->rcpts = mem_zero(m->count, sizeof *m->rcpts);
    for (size_t i = 0; i < m->count; i++) {
        if (chance(sim, 40))
            d = some_domain(sim);
        make_recipient(m, i, d)->bad = chance(sim, 8);
    }
}

static void make_wishes(struct sim *sim, struct msg *m)
{
    m->envid = chance(sim, 30);
    m->forged = chance(sim, 5) ? some_domain(sim) : NULL;
    m->hold_s = chance(sim, 8) ? 1 + roll(sim, HOLD_MAX_S) : 0;
    if (chance(sim, 50))
        return;
    for (size_t i = 0; i < m->count; i++)
        m->rcpts[i].notify = chance(sim, 25) ? 0 : chance(sim, 30) ? MAIL_NOTIFY_NEVER : (uint8_t)(2 * (1 + roll(sim, 7)));
}

/* The domain of its From field, which decides who signs it. */
static const struct domain *from_field(struct sim *sim, const struct msg *m)
{
    return m->forged != NULL        ? m->forged
           : m->from_domain != NULL ? m->from_domain
                                    : &sim->zone.domains[0];
}

static void make_body(struct sim *sim, struct msg *m)
{
    size_t want = chance(sim, 80)   ? roll(sim, 2000)
                  : chance(sim, 80) ? roll(sim, 20 * KIB)
                                    : roll(sim, 200 * KIB);
    struct buf *b = &m->content;
    size_t begin;

    /* With all that a submission's header must have, so that nothing is added. */
    buf_printf(b, "X-Sim-Token: %u\r\nMessage-ID: <%u@sim.test>\r\nDate: Mon, 5 Oct 2026 10:00:00 +0000\r\n",
               m->token, m->token);
    buf_printf(b, "From: <%s%u@%s>\r\n", m->forged != NULL ? "forged" : "s", m->token,
               from_field(sim, m)->name);
    if (chance(sim, 10)) /* a header that does not fit its record */
        for (unsigned i = 0; i < 150; i++)
            buf_printf(b, "X-Filler-%u: %llx %llx\r\n", i, (unsigned long long)rng_u64(&sim->rng),
                       (unsigned long long)rng_u64(&sim->rng));
    buf_add_str(b, "\r\n");
    begin = buf_len(b);
    while (buf_len(b) - begin < want) {
        size_t len = chance(sim, 10) ? 0 : roll(sim, chance(sim, 95) ? 78 : 998);
        uint64_t bits = rng_u64(&sim->rng);

        for (size_t i = 0; i < len; i++) {
            if (i % 8 == 0)
                bits = bits * 0x9e3779b97f4a7c15ull + m->token;
            buf_add_byte(b, i == 0 && len % 7 == 0
                                ? '.'
                                : (char)(' ' + (bits >> (8 * (i % 8)) & 0xff) % 95));
        }
        buf_add_str(b, "\r\n");
    }
    m->body_bytes = buf_len(b) - begin;
}

static struct msg *add_message(struct sim *sim)
{
    struct ledger *l = &sim->ledger;
    struct msg *m = mem_new(struct msg);

    if (l->count == l->cap) {
        l->cap = l->cap != 0 ? l->cap * 2 : 64;
        l->msgs = mem_grow(l->msgs, l->cap, sizeof *l->msgs);
    }
    m->token = (unsigned)l->count;
    l->msgs[l->count++] = m;
    return m;
}

static struct msg *filled(struct sim *sim, struct msg *m)
{
    make_body(sim, m);
    sim->counts.messages++;
    sim->counts.recipients += m->count;
    return m;
}

struct msg *ledger_new_message(struct sim *sim)
{
    struct msg *m = add_message(sim);

    make_sender(sim, m);
    make_recipients(sim, m);
    make_wishes(sim, m);
    return filled(sim, m);
}

struct msg *ledger_new_plain(struct sim *sim, struct msg *same_sender, const struct domain *const *to, size_t count)
{
    struct msg *m = add_message(sim);
    struct buf b = { 0 };

    m->from_domain = &sim->zone.domains[0];
    buf_printf(&b, "s%u@%s", same_sender != NULL ? same_sender->token : m->token, m->from_domain->name);
    m->reverse_path = buf_detach(&b);
    if (same_sender != NULL) {
        m->next_of_sender = same_sender->next_of_sender;
        same_sender->next_of_sender = m;
    }
    m->count = count;
    m->rcpts = mem_zero(count, sizeof *m->rcpts);
    for (size_t i = 0; i < count; i++)
        make_recipient(m, i, to[i]);
    return filled(sim, m);
}

void ledger_free(struct sim *sim)
{
    struct ledger *l = &sim->ledger;

    for (size_t i = 0; i < l->count; i++) {
        for (size_t k = 0; k < l->msgs[i]->count; k++)
            free(l->msgs[i]->rcpts[k].address);
        free(l->msgs[i]->rcpts);
        free(l->msgs[i]->reverse_path);
        buf_release(&l->msgs[i]->content);
        free(l->msgs[i]);
    }
    free(l->msgs);
    for (size_t i = 0; i < l->dsn_count; i++)
        free(l->dsns[i].message_id);
    free(l->dsns);
}

/* ---- finding them ------------------------------------------------------------------ */

static bool number(struct slice *s, char before, uint64_t *out)
{
    size_t n = 0;

    if (s->len == 0 || s->ptr[0] != before)
        return false;
    *s = slice_from(*s, 1);
    while (n < s->len && ascii_is_digit(s->ptr[n]))
        n++;
    if (!slice_u64(slice_head(*s, n), out))
        return false;
    *s = slice_from(*s, n);
    return true;
}

struct rcpt *ledger_find(struct sim *sim, struct slice address)
{
    struct slice rest = address;
    uint64_t token, n;
    struct rcpt *r;

    if (!number(&rest, 'r', &token) || !number(&rest, 'x', &n) || token >= sim->ledger.count ||
        n >= sim->ledger.msgs[token]->count)
        return NULL;
    r = &sim->ledger.msgs[token]->rcpts[n];
    return slice_eq(slice_str(r->address), address) ? r : NULL;
}

struct msg *ledger_find_sender(struct sim *sim, struct slice address)
{
    struct slice rest = address;
    uint64_t token;

    if (!number(&rest, 's', &token) || token >= sim->ledger.count)
        return NULL;
    return sim->ledger.msgs[token];
}

static struct msg *find_by_content(struct sim *sim, struct slice content)
{
    static const char field[] = "X-Sim-Token: ";
    const char *at = memmem(content.ptr, content.len, field, sizeof field - 1);
    struct slice rest;
    uint64_t token;

    if (at == NULL)
        return NULL;
    rest = slice_from(content, (size_t)(at - content.ptr) + sizeof field - 2);
    if (!number(&rest, ' ', &token) || token >= sim->ledger.count)
        return NULL;
    return sim->ledger.msgs[token];
}

uint64_t ledger_begins_wall(const struct msg *m)
{
    uint64_t release = m->release_ms != 0 ? WALL_BASE_MS + m->release_ms : 0;

    return release > m->received_wall_ms ? release : m->received_wall_ms;
}

/* ---- what the engine does -------------------------------------------------------------- */

void ledger_committed(struct sim *sim, const struct message *m)
{
    struct msg *of = find_by_content(sim, m->header);

    if (of == NULL)
        broken(sim, "a message arrived that nobody sent");
    if (of->committed)
        broken(sim, "message %u arrived twice", of->token);
    if (of->forbidden != NULL)
        broken(sim, "message %u is taken %s", of->token, of->forbidden);
    of->committed = true;
    of->id = m->id;
    of->committed_ms = sim->now_ms;
    of->received_wall_ms = m->received_wall_ms;
    if (m->body_place == BODY_BLOB)
        sim->counts.blobs++;
    trace(sim, "committed %u as %llx", of->token, (unsigned long long)m->id);
}

void ledger_acked(struct sim *sim, struct msg *m)
{
    m->acked = true;
    sim->counts.acked++;
    trace(sim, "acknowledged %u", m->token);
}

/* ---- what the remote servers see --------------------------------------------------------- */

void ledger_attempt(struct sim *sim, struct rcpt *r)
{
    struct msg *m = r->msg;

    if (!m->committed && !m->acked)
        broken(sim, "%s is tried before its message was stored", r->address);
    if (r->gone)
        broken(sim, "%s is tried after its end", r->address);
    if (sim->now_ms + SLACK_MS < r->not_before_ms)
        broken(sim, "%s is tried %llu ms too soon", r->address,
               (unsigned long long)(r->not_before_ms - sim->now_ms));
    if (r->held)
        broken(sim, "%s is tried while it is held", r->address);
}

/* The shortest wait after an attempt: jitter takes a quarter at most. */
static uint64_t least_wait(const struct sim *sim)
{
    return sim->retry.first_ms - sim->retry.first_ms / 4;
}

static void wait_at_least(struct sim *sim, struct rcpt *r, uint64_t ms)
{
    if (sim->now_ms + ms > r->not_before_ms)
        r->not_before_ms = sim->now_ms + ms;
}

void ledger_deferred(struct sim *sim, struct rcpt *r)
{
    trace(sim, "put off: %s", r->address);
    wait_at_least(sim, r, least_wait(sim));
}

void ledger_doubt(struct sim *sim, struct rcpt *r)
{
    sim->counts.doubts++;
    trace(sim, "in doubt: %s", r->address);
    wait_at_least(sim, r, sim->retry.doubt_ms);
}

static bool is_to_be_signed(struct sim *sim, const struct msg *m)
{
    const struct domain *whose = m->by_sender ? m->from_domain : from_field(sim, m);

    return whose != NULL && whose->index == 0;
}

static void check_content(struct sim *sim, const struct msg *m, struct slice content)
{
    struct slice want = buf_bytes((struct buf *)&m->content);
    struct slice before, got;

    if (content.len < want.len)
        broken(sim, "message %u came with %zu bytes instead of %zu", m->token, content.len,
               want.len);
    before = slice_head(content, content.len - want.len);
    got = slice_from(content, content.len - want.len);
    if (!slice_eq(got, want))
        broken(sim, "message %u came with other bytes", m->token);
    if (is_to_be_signed(sim, m) != slice_starts_nocase(before, SLICE("DKIM-Signature: ")))
        broken(sim, "message %u came %s", m->token, is_to_be_signed(sim, m) ? "unsigned" : "signed");
    if (is_to_be_signed(sim, m)) {
        if (!signature_fits(content, sim->zone.domains[0].name))
            broken(sim, "message %u came with a signature that does not fit it", m->token);
        before = slice_from(before, slice_find(before, '\n') + 1);
    }
    if (before.len != 0 && !slice_starts_nocase(before, SLICE("Received: ")))
        broken(sim, "message %u came with something odd in front", m->token);
}

void ledger_accept(struct sim *sim, struct slice reverse_path, struct rcpt **about, size_t count,
                   struct slice content, bool dsn)
{
    const struct msg *m = find_by_content(sim, content);

    if (m == NULL)
        broken(sim, "content without a token was sent");
    check_content(sim, m, content);
    if (!slice_eq(reverse_path, slice_str(m->reverse_path)))
        broken(sim, "message %u came from <%.*s>", m->token, (int)reverse_path.len,
               reverse_path.ptr);
    for (size_t i = 0; i < count; i++) {
        struct rcpt *r = about[i];

        if (r->msg != m)
            broken(sim, "%s was given the content of message %u", r->address, m->token);
        if (r->accepted != 0 && r->confirmed)
            broken(sim, "%s was delivered twice for no reason", r->address);
        if (dsn)
            r->taken_with_dsn = true;
        else
            r->taken_without = true;
        if (r->accepted++ != 0)
            sim->counts.duplicates++;
        else
            sim->counts.delivered++;
        trace(sim, "taken: %s", r->address);
    }
}

void ledger_confirm(struct sim *sim, struct rcpt *r)
{
    r->confirmed = true;
    trace(sim, "confirmed: %s", r->address);
}

/* ---- notifications ----------------------------------------------------------------------- */

static struct slice header_line(struct slice content, const char *name)
{
    struct slice line;

    while (slice_split(&content, '\n', &line)) {
        if (line.len <= 1)
            break;
        if (slice_starts_nocase(line, slice_str(name)))
            return slice_head(line, line.len - 1);
    }
    return SLICE_EMPTY;
}

static int find_dsn(struct sim *sim, struct slice message_id)
{
    struct ledger *l = &sim->ledger;

    for (size_t i = 0; i < l->dsn_count; i++)
        if (slice_eq(slice_str(l->dsns[i].message_id), message_id))
            return (int)i;
    return -1;
}

static int add_dsn(struct sim *sim, struct slice message_id)
{
    struct ledger *l = &sim->ledger;

    if (l->dsn_count == l->dsn_cap) {
        l->dsn_cap = l->dsn_cap != 0 ? l->dsn_cap * 2 : 16;
        l->dsns = mem_grow(l->dsns, l->dsn_cap, sizeof *l->dsns);
    }
    l->dsns[l->dsn_count] = (struct dsn){ .message_id = mem_dup(message_id.ptr, message_id.len) };
    sim->counts.dsns++;
    return (int)l->dsn_count++;
}

static void told_of(struct sim *sim, struct slice to, struct slice address, struct slice action)
{
    struct rcpt *r = ledger_find(sim, address);

    if (r == NULL)
        broken(sim, "a notification names <%.*s>", (int)address.len, address.ptr);
    if (!slice_eq(slice_str(r->msg->reverse_path), to))
        broken(sim, "a notification about %s goes to <%.*s>", r->address, (int)to.len, to.ptr);
    if (slice_starts_nocase(action, SLICE("delayed"))) {
        sim->counts.warnings++;
        if (!mail_notify_wants(r->notify, MAIL_NOTIFY_DELAY))
            broken(sim, "the delay of %s is told, though nobody wanted to know", r->address);
        if (++r->dsn_delayed > 1)
            broken(sim, "the delay of %s is told twice", r->address);
        return;
    }
    if (slice_starts_nocase(action, SLICE("relayed"))) {
        sim->counts.relayed_dsns++;
        if (!mail_notify_wants(r->notify, MAIL_NOTIFY_SUCCESS))
            broken(sim, "that %s was passed on is told, though nobody asked", r->address);
        if (!r->taken_without)
            broken(sim, "%s is called passed on, but nobody without DSN took it", r->address);
        if (++r->dsn_relayed > 1)
            broken(sim, "that %s was passed on is told twice", r->address);
        return;
    }
    if (!slice_starts_nocase(action, SLICE("failed")))
        broken(sim, "a notification about %s says %.*s", r->address, (int)action.len, action.ptr);
    if (!mail_notify_wants(r->notify, MAIL_NOTIFY_FAILURE))
        broken(sim, "the failure of %s is told, though nobody wanted to know", r->address);
    if (++r->dsn_failed > 1)
        broken(sim, "the failure of %s is told twice", r->address);
    trace(sim, "failure told: %s", r->address);
}

int ledger_accept_dsn(struct sim *sim, struct slice to, struct slice content)
{
    struct slice message_id = header_line(content, "Message-ID:");
    struct slice rest = content, line, address = SLICE_EMPTY;
    int dsn = find_dsn(sim, message_id);
    unsigned named = 0;

    if (message_id.len == 0)
        broken(sim, "a notification without Message-ID");
    if (!signature_fits(content, NOTICE_DOMAIN))
        broken(sim, "a notification without a signature that fits");
    if (dsn >= 0) {
        if (sim->ledger.dsns[dsn].confirmed)
            broken(sim, "a notification to <%.*s> was delivered twice for no reason", (int)to.len,
                   to.ptr);
        return dsn;
    }
    dsn = add_dsn(sim, message_id);
    while (slice_split(&rest, '\n', &line)) {
        line = slice_head(line, slice_find(line, '\r'));
        if (slice_starts_nocase(line, SLICE("Final-Recipient: rfc822;"))) {
            address = slice_trim(slice_from(line, sizeof "Final-Recipient: rfc822;" - 1));
        } else if (slice_starts_nocase(line, SLICE("Action: "))) {
            told_of(sim, to, address, slice_from(line, sizeof "Action: " - 1));
            named++;
        }
    }
    if (named == 0)
        broken(sim, "a notification that names nobody");
    return dsn;
}
