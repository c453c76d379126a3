/* tests/sim/remote_mail.c - the servers of the world take mail, in DATA or in
 * chunks, and look at what they are given.
 */
#include "tests/sim/remote.h"

#include "mail/param.h"

/* ---- marks -------------------------------------------------------------------------- */

static void on_confirmed(struct sim *sim, struct mark *m)
{
    for (size_t i = 0; i < m->count; i++)
        ledger_confirm(sim, m->about[i]);
}

static void on_dsn_confirmed(struct sim *sim, struct mark *m)
{
    sim->ledger.dsns[m->n].confirmed = true;
}

/* ---- a transaction ------------------------------------------------------------------- */

void remote_forget(struct remote *r)
{
    r->has_from = r->has_dsn_to = false;
    r->count = 0;
    r->in_data = false;
    r->chunks = 0;
    buf_clear(&r->data);
    buf_clear(&r->from);
    buf_clear(&r->dsn_to);
}

static struct slice path_of(struct slice line)
{
    size_t open = slice_find(line, '<');
    struct slice rest = slice_from(line, open + 1);

    return slice_head(rest, slice_find(rest, '>'));
}

/* Whom a refused MAIL is about can be told from its path only. */
static void mail_refused(struct remote *r, struct slice path)
{
    struct msg *m = ledger_find_sender(r->sim, path);

    for (; m != NULL; m = m->next_of_sender)
        for (size_t i = 0; i < m->count; i++)
            for (unsigned k = 0; k < m->rcpts[i].domain->host_count; k++)
                if (m->rcpts[i].domain->hosts[k] == r->host)
                    m->rcpts[i].failed_ok = true;
}

/* Passed on where it is understood, and nowhere else. */
static void check_envid(struct remote *r, struct slice line)
{
    struct msg *m = ledger_find_sender(r->sim, path_of(line));
    char want[32];

    if (m == NULL)
        return;
    snprintf(want, sizeof want, " ENVID=E%u", m->token);
    if ((memmem(line.ptr, line.len, " ENVID=", 7) != NULL) != (r->dsn && m->envid) ||
        (r->dsn && m->envid && memmem(line.ptr, line.len, want, strlen(want)) == NULL))
        broken(r->sim, "ENVID of message %u: %.*s", m->token, (int)line.len, line.ptr);
}

static void check_notify(struct remote *r, const struct rcpt *rc, struct slice line)
{
    struct slice rest = slice_from(line, slice_find(line, '>') + 1);
    char notify[MAIL_NOTIFY_TEXT_MAX], want[MAIL_NOTIFY_TEXT_MAX + 16] = "";

    if (r->dsn && rc->notify != 0)
        snprintf(want, sizeof want, " NOTIFY=%s", mail_notify_format(rc->notify, notify));
    if (!slice_eq(rest, slice_str(want)))
        broken(r->sim, "\"%.*s\" for \"%s\" of %s", (int)rest.len, rest.ptr, want, rc->address);
}

void remote_mail(struct remote *r, struct slice line)
{
    enum fault f;

    r->nameless = path_of(line).len == 0;
    if (r->used && !r->garbled && remote_is_hasty(r)) { /* nobody bounces for it */
        r->garbled = true;
        remote_say(r, "554 5.3.0 enough for today");
    }
    r->used = true;
    f = remote_suffers(r, ST_MAIL, NULL, 0);
    if (f == F_5XX || (r->one_ahead && r->hello_refused))
        mail_refused(r, path_of(line));
    if (f != F_NONE)
        return;
    remote_forget(r);
    check_envid(r, line);
    r->has_from = true;
    buf_add(&r->from, path_of(line));
    remote_say(r, "250 2.1.0 ok");
}

/* Whatever else goes wrong: nothing for such a domain is said without TLS. */
static void check_tls(struct remote *r, struct slice path)
{
    const struct domain *d = domain_by_name(r->sim, slice_from(path, slice_find(path, '@') + 1));

    if (d == NULL || d->tls < HOP_TLS_REQUIRED)
        return;
    if (!r->secured)
        broken(r->sim, "mail for %.*s in the clear", (int)path.len, path.ptr);
    if (d->tls == HOP_TLS_VERIFIED && r->fate == FATE_BAD_CERT)
        broken(r->sim, "mail for %.*s to somebody else's certificate", (int)path.len, path.ptr);
}

void remote_rcpt(struct remote *r, struct slice line)
{
    struct slice path = path_of(line);
    struct rcpt *rc;

    rc = ledger_find(r->sim, path);
    if (!r->has_from) {
        if (rc != NULL && r->one_ahead) /* it was told that MAIL was fine */
            rc->failed_ok = true;
        remote_say(r, "503 5.5.1 MAIL first");
        return;
    }
    if (rc == NULL && buf_len(&r->from) != 0)
        broken(r->sim, "mail for <%.*s>, whom nobody wrote to", (int)path.len, path.ptr);
    check_tls(r, path);
    if (rc != NULL) {
        check_notify(r, rc, line);
        ledger_attempt(r->sim, rc);
        rc->failed_ok |= r->one_ahead; /* by an answer that was meant for something else */
    }
    if (remote_suffers(r, ST_RCPT, &rc, rc != NULL ? 1 : 0) != F_NONE)
        return;
    if (rc != NULL && rc->bad) {
        rc->failed_ok = true;
        remote_say(r, "550 5.1.1 no such user");
        return;
    }
    if (rc == NULL) {
        r->has_dsn_to = true;
        buf_clear(&r->dsn_to);
        buf_add(&r->dsn_to, path);
    } else {
        r->rcpts = mem_grow(r->rcpts, r->count + 1, sizeof(struct rcpt *));
        r->rcpts[r->count++] = rc;
    }
    if (r->count == 1 && remote_is_hasty(r)) {
        r->data_answered = true;
        remote_say(r, "250 2.1.5 ok\r\n354 go on");
        return;
    }
    remote_say(r, "250 2.1.5 ok");
}

void remote_data_wanted(struct remote *r)
{
    if (r->count == 0 && !r->has_dsn_to) {
        remote_say(r, "554 5.5.1 no valid recipients");
        return;
    }
    if (remote_suffers(r, ST_DATA, r->rcpts, r->count) != F_NONE) {
        if (!r->dead)
            remote_forget(r);
        return;
    }
    r->in_data = true;
    r->cut_at = !r->sim->healed && host_mode(r->host) == MODE_FLAKY && chance(r->sim, 6)
                    ? 1 + roll(r->sim, 3000)
                    : 0;
    if (!r->data_answered)
        remote_say(r, "354 go on");
    r->data_answered = false;
}

/* The content is here. Whether it is taken is one question, whether the
 * client hears of it another. */
void remote_dot(struct remote *r, struct slice content)
{
    struct sim *sim = r->sim;
    enum fault f = remote_fault(r, ST_DOT);
    int dsn = -1;

    r->pending = true;
    r->in_data = false;
    if (f == F_4XX || f == F_421) {
        trace(sim, "%s: puts it off", r->host->name);
        remote_say(r, f == F_4XX ? "452 4.2.2 mailbox full" : "421 4.3.2 going down");
        remote_mark(r, remote_deferred, r->rcpts, r->count, 0);
        if (f == F_421)
            remote_hang_up(r);
        r->pending = false;
        remote_forget(r);
        return;
    }
    if (f == F_5XX) {
        for (size_t i = 0; i < r->count; i++)
            r->rcpts[i]->failed_ok = true;
        remote_say(r, "554 5.6.0 content refused");
        r->pending = false;
        remote_forget(r);
        return;
    }
    if (f == F_NONE || chance(sim, 50)) {
        if (r->count > 0)
            ledger_accept(sim, buf_bytes(&r->from), r->rcpts, r->count, content, r->dsn);
        else
            dsn = ledger_accept_dsn(sim, buf_bytes(&r->dsn_to), content);
    }
    if (f != F_NONE) {
        trace(sim, "%s: hangs up after the final dot (%d)", r->host->name, f);
        remote_lose(r, f);
        return;
    }
    remote_say(r, "250 2.0.0 taken");
    if (r->dead)
        return; /* said so that nobody can know whether it is understood */
    if (dsn >= 0)
        remote_mark(r, on_dsn_confirmed, NULL, 0, (uint64_t)dsn);
    else
        remote_mark(r, on_confirmed, r->rcpts, r->count, 0);
    r->pending = false;
    remote_forget(r);
}

/* ---- chunks (RFC 3030) ----------------------------------------------------------------- */

void remote_bdat(struct remote *r, struct slice line)
{
    struct slice args = slice_from(line, 5), size;

    slice_split(&args, ' ', &size);
    if (!slice_u64(size, &r->chunk_left) || (args.len != 0 && !slice_eq(args, SLICE("LAST"))))
        broken(r->sim, "an unreadable chunk: %.*s", (int)line.len, line.ptr);
    if (!r->host->pipelining)
        broken(r->sim, "chunks without pipelining");
    r->chunk_last = args.len != 0;
    r->chunk_unwanted = r->count == 0 && !r->has_dsn_to;
    r->in_chunk = true;
    r->sim->counts.chunks++;
    if (r->chunks++ == 0)
        r->cut_at = !r->sim->healed && host_mode(r->host) == MODE_FLAKY && chance(r->sim, 6)
                        ? 1 + roll(r->sim, 100 * KIB)
                        : 0;
}

/* One is here whole. */
static void chunk_ends(struct remote *r)
{
    r->in_chunk = false;
    if (r->chunk_unwanted) {
        remote_say(r, "503 5.5.1 no recipients");
    } else if (r->chunk_last) {
        remote_dot(r, buf_bytes(&r->data));
    } else if (remote_suffers(r, ST_DATA, r->rcpts, r->count) == F_NONE) {
        remote_say(r, "250 2.0.0 chunk taken");
    } else if (!r->dead) {
        remote_forget(r);
    }
}

/* Takes what is there of a chunk; false when more must come. */
bool remote_chunk(struct remote *r)
{
    struct slice in = slice_head(buf_bytes(&r->in), r->chunk_left);

    if (!r->chunk_unwanted)
        buf_add(&r->data, in);
    r->chunk_left -= in.len;
    buf_take(&r->in, in.len);
    if (r->cut_at != 0 && buf_len(&r->data) >= r->cut_at) {
        trace(r->sim, "%s: loses the connection in a chunk", r->host->name);
        remote_lose(r, chance(r->sim, 50) ? F_RESET : F_HOLE);
        return false;
    }
    if (r->chunk_left != 0)
        return false;
    chunk_ends(r);
    return true;
}
