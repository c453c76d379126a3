/* mail/body.c - the content of a message passes here twice: once on its way
 * in, where dots and the end mark are taken off and line ends are judged, and
 * once for each next hop on its way out. Both run over every byte of every
 * message, so they step from line to line with memchr and hand on long runs
 * untouched. */
#include "mail/body.h"

enum {
    AT_START, /* of a line that a true CR LF began */
    AT_MENDED, /* of a line behind a repaired end: no end mark begins here */
    IN_LINE,
    AFTER_CR,    /* a CR was given out, its LF has not come yet */
    REPAIRED_CR, /* CR LF was given out for a CR; a LF now is its other half */
    AT_DOT,      /* a dot at the start of a line, held back */
    AT_DOT_CR,   /* dot and CR, held back */
    MENDED_DOT,  /* the same two behind a repaired end */
    MENDED_DOT_CR,
};

struct feed {
    struct mail_data_reader *r;
    mail_data_sink *sink;
    void *ctx;
    const char *run; /* first byte not given out yet */
    const char *at;
    const char *end;
    const char *lf; /* the next LF from `at` on; NULL when it is not known */
};

#define HIGH_BITS 0x8080808080808080ull
#define LOW_BITS  0x0101010101010101ull

/* Notes bytes over 127 and NULs, eight bytes a step. */
static void look_at(struct mail_data_reader *r, const char *p, size_t len)
{
    uint64_t high = 0, zero = 0, w;

    for (; len >= sizeof w; p += sizeof w, len -= sizeof w) {
        memcpy(&w, p, sizeof w);
        high |= w;
        zero |= (w - LOW_BITS) & ~w;
    }
    for (; len > 0; p++, len--) {
        high |= (unsigned char)*p;
        if (*p == '\0')
            zero = HIGH_BITS;
    }
    if ((high & HIGH_BITS) != 0)
        r->eight_bit = true;
    if ((zero & HIGH_BITS) != 0)
        r->faults |= MAIL_FAULT_NUL;
}

static void give(struct feed *f, const char *from, size_t len)
{
    if (len == 0)
        return;
    look_at(f->r, from, len);
    f->r->size_bytes += len;
    f->sink(f->ctx, slice_make(from, len));
}

/* Gives out all up to `to` and goes on from there. */
static void give_run(struct feed *f, const char *to)
{
    give(f, f->run, (size_t)(to - f->run));
    f->run = f->at = to;
}

/* A line ends whose bytes, without those of its end, are line_bytes. */
static void line_ends(struct mail_data_reader *r, size_t line_bytes)
{
    if (line_bytes > MAIL_LINE_MAX)
        r->faults |= MAIL_FAULT_LONG_LINE;
    r->line_bytes = 0;
    r->state = AT_START;
}

/* The next LF, or the end of input. Found once however often it is asked, so
 * that a flood of bare CRs stays linear. */
static const char *next_lf(struct feed *f)
{
    if (f->lf == NULL || f->lf < f->at) {
        f->lf = memchr(f->at, '\n', (size_t)(f->end - f->at));
        if (f->lf == NULL)
            f->lf = f->end;
    }
    return f->lf;
}

/* The rest of a line: CR LF is its end, a lone CR or LF a fault within it. */
static void step_strict(struct feed *f)
{
    struct mail_data_reader *r = f->r;
    const char *stop = next_lf(f);
    const char *cr = memchr(f->at, '\r', (size_t)(stop - f->at));
    size_t len = (size_t)(stop - f->at);
    bool ends_in_cr = cr != NULL && stop[-1] == '\r';

    if (cr != NULL && cr + 1 < stop)
        r->faults |= MAIL_FAULT_BARE_CR;
    r->line_bytes += len;
    f->at = stop;
    if (stop == f->end) {
        r->state = ends_in_cr ? AFTER_CR : IN_LINE;
        return;
    }
    f->at++;
    if (ends_in_cr) {
        line_ends(r, r->line_bytes - 1);
    } else {
        r->faults |= MAIL_FAULT_BARE_LF;
        r->line_bytes++;
        r->state = IN_LINE;
    }
}

/* The rest of a line where CR, LF and CR LF end it, and CR LF comes out. */
static void step_repair(struct feed *f)
{
    struct mail_data_reader *r = f->r;
    const char *lf = next_lf(f);
    const char *cr = memchr(f->at, '\r', (size_t)(lf - f->at));
    const char *stop = cr != NULL ? cr : lf;

    r->line_bytes += (size_t)(stop - f->at);
    if (stop == f->end) {
        f->at = stop;
        r->state = IN_LINE;
        return;
    }
    line_ends(r, r->line_bytes);
    if (cr == NULL) {
        give_run(f, lf);
        give(f, "\r", 1);
        f->at = lf + 1;
        r->state = AT_MENDED;
    } else if (cr + 1 == lf && lf < f->end) {
        f->at = lf + 1;
    } else {
        give_run(f, cr + 1);
        give(f, "\n", 1);
        r->state = f->at == f->end ? REPAIRED_CR : AT_MENDED;
    }
}

/* A line of one dot that is no end mark, for an end of it was repaired. */
static void give_dot_line(struct feed *f, unsigned next_state)
{
    give(f, ".\r\n", 3);
    f->run = f->at;
    f->r->line_bytes = 0;
    f->r->state = next_state;
}

/* After a dot that began a line: an end mark may follow, even in repair only
 * by true CR LF on both sides. */
static void step_dot(struct feed *f)
{
    struct mail_data_reader *r = f->r;
    bool mended = r->state == MENDED_DOT;

    if (*f->at == '\r') {
        f->run = ++f->at;
        r->state = mended ? MENDED_DOT_CR : AT_DOT_CR;
    } else if (*f->at == '\n' && r->repair_line_ends) {
        f->at++;
        give_dot_line(f, AT_MENDED);
    } else {
        r->state = IN_LINE; /* the dot was stuffing; it is dropped */
    }
}

/* After dot and CR. True: this was the end mark. */
static bool step_dot_cr(struct feed *f)
{
    struct mail_data_reader *r = f->r;
    bool mended = r->state == MENDED_DOT_CR;

    if (*f->at == '\n') {
        f->at++;
        if (!mended)
            return true;
        give_dot_line(f, AT_START);
    } else if (r->repair_line_ends) {
        give_dot_line(f, AT_MENDED);
    } else {
        r->faults |= MAIL_FAULT_BARE_CR;
        give(f, "\r", 1);
        r->line_bytes = 1;
        r->state = IN_LINE;
    }
    return false;
}

/* The byte after a CR that was the last of its piece. */
static void step_after_cr(struct feed *f)
{
    struct mail_data_reader *r = f->r;

    if (*f->at == '\n') {
        f->at++;
        line_ends(r, r->line_bytes - 1);
    } else {
        r->faults |= MAIL_FAULT_BARE_CR;
        r->state = IN_LINE;
    }
}

bool mail_data_feed(struct mail_data_reader *r, struct slice in, size_t *used, mail_data_sink *sink,
                    void *ctx)
{
    struct feed f = { .r = r, .sink = sink, .ctx = ctx, .run = in.ptr, .at = in.ptr };
    bool ended = false;

    *used = 0;
    if (in.len == 0)
        return false; /* its pointer may be NULL, from which no other is derived */
    f.end = f.at + in.len;
    while (!ended && f.at < f.end) {
        switch (r->state) {
        case AT_START:
        case AT_MENDED:
            if (*f.at == '.' && !r->chunked) {
                give_run(&f, f.at);
                f.run = ++f.at;
                r->state = r->state == AT_START ? AT_DOT : MENDED_DOT;
                break;
            }
            __attribute__((fallthrough));
        case IN_LINE:
            if (r->repair_line_ends)
                step_repair(&f);
            else
                step_strict(&f);
            break;
        case AFTER_CR:
            step_after_cr(&f);
            break;
        case REPAIRED_CR:
            r->state = *f.at == '\n' ? AT_START : AT_MENDED;
            if (*f.at == '\n')
                f.run = ++f.at;
            break;
        case AT_DOT:
        case MENDED_DOT:
            step_dot(&f);
            break;
        default:
            ended = step_dot_cr(&f);
            break;
        }
    }
    *used = (size_t)(f.at - in.ptr);
    if (ended)
        return true; /* an end mark has nothing waiting before it */
    give_run(&f, f.at);
    if (r->line_bytes > MAIL_LINE_MAX + 1) /* a CR of its end may be among them */
        r->faults |= MAIL_FAULT_LONG_LINE;
    return false;
}

void mail_data_finish(struct mail_data_reader *r, mail_data_sink *sink, void *ctx)
{
    /* A CR at the very end was given out at once; in repair with its LF. */
    if (r->state == AFTER_CR)
        r->faults |= MAIL_FAULT_BARE_CR;
    line_ends(r, r->line_bytes);
}

/* `at_line_start` says that CR LF was the last thing written. Canonical content
 * goes out as it is. Should there be a lone CR or LF in it all the same, it is
 * written as CR LF: a next hop might take it for a line's end, and bytes
 * behind it for an end mark and commands. A LF at the start of a line is the
 * other half of a CR that ended the piece before. */
void mail_data_stuff(struct buf *out, struct slice bytes, bool *at_line_start)
{
    const char *p = bytes.ptr, *run = p, *end;
    const char *lf = NULL, *cr, *stop;

    if (bytes.len == 0)
        return; /* its pointer may be NULL, from which no other is derived */
    end = p + bytes.len;
    buf_reserve(out, bytes.len + 2);
    while (p < end) {
        if (*at_line_start && *p == '.') {
            buf_add(out, slice_make(run, (size_t)(p - run)));
            buf_add_byte(out, '.');
            run = p;
        }
        if (lf == NULL || lf < p) {
            lf = memchr(p, '\n', (size_t)(end - p));
            if (lf == NULL)
                lf = end;
        }
        cr = memchr(p, '\r', (size_t)(lf - p));
        if (cr == NULL && lf == end) {
            *at_line_start = false;
            break;
        }
        stop = cr != NULL ? cr : lf;
        if (cr != NULL && cr + 1 == lf && lf < end) {
            p = lf + 1;
        } else {
            buf_add(out, slice_make(run, (size_t)(stop - run)));
            if (*stop == '\r' || stop > p || !*at_line_start)
                buf_add(out, SLICE("\r\n"));
            p = run = stop + 1;
        }
        *at_line_start = true;
    }
    buf_add(out, slice_make(run, (size_t)(end - run)));
}

void mail_data_end(struct buf *out, bool at_line_start)
{
    buf_add_str(out, at_line_start ? ".\r\n" : "\r\n.\r\n");
}
