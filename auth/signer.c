/* auth/signer.c - hands a message to libopendkim, once for each key. */
#include "auth/signer.h"

#include "base/leaks.h"
#include "base/mem.h"
#include "mail/header.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <opendkim/dkim.h>

#define FIELD_NAME DKIM_SIGNHEADER ": "

/* What a signature covers (RFC 6376 section 5.4.1). A field named once more
 * than it is there can't be added later without breaking the signature. The
 * ones a reader sees are sealed so always; those a mail server on the way may
 * add where they are missing only when they are there. */
static const struct covered {
    const char *name;
    enum { SEALED, SEALED_IF_THERE, AS_IT_IS } how;
} covered[] = {
    { "From", SEALED },
    { "Reply-To", SEALED },
    { "Subject", SEALED },
    { "To", SEALED },
    { "Cc", SEALED },
    { "Sender", SEALED_IF_THERE },
    { "Date", SEALED_IF_THERE },
    { "Message-ID", SEALED_IF_THERE },
    { "MIME-Version", SEALED_IF_THERE },
    { "Content-Type", SEALED_IF_THERE },
    { "Content-Transfer-Encoding", SEALED_IF_THERE },
    { "In-Reply-To", SEALED_IF_THERE },
    { "References", SEALED_IF_THERE },
    { "List-Id", AS_IT_IS },
    { "List-Help", AS_IT_IS },
    { "List-Unsubscribe", AS_IT_IS },
    { "List-Unsubscribe-Post", AS_IT_IS },
    { "List-Subscribe", AS_IT_IS },
    { "List-Post", AS_IT_IS },
    { "List-Owner", AS_IT_IS },
    { "List-Archive", AS_IT_IS },
};

struct signer {
    DKIM_LIB *lib;
};

struct err signer_new(struct signer **out)
{
    const u_char *names[countof(covered) + 1];
    struct signer *s = mem_new(struct signer);

    *out = NULL;
    for (size_t i = 0; i < countof(covered); i++)
        names[i] = (const u_char *)covered[i].name;
    names[countof(covered)] = NULL;
    s->lib = dkim_init(NULL, NULL);
    if (s->lib == NULL ||
        dkim_options(s->lib, DKIM_OP_SETOPT, DKIM_OPTS_SIGNHDRS, names, sizeof(u_char **)) != DKIM_STAT_OK ||
        !dkim_libfeature(s->lib, DKIM_FEATURE_SHA256) || !dkim_libfeature(s->lib, DKIM_FEATURE_ED25519)) {
        signer_free(s);
        return err_make(ERR_SYSTEM, "set libopendkim up");
    }
    *out = s;
    return ERR_OK;
}

void signer_free(struct signer *s)
{
    if (s == NULL)
        return;
    if (s->lib != NULL)
        dkim_close(s->lib);
    free(s);
}

/* ---- the message to sign ------------------------------------------------------- */

static int covered_index(struct slice name)
{
    for (size_t i = 0; i < countof(covered); i++)
        if (slice_eq_nocase(name, slice_str(covered[i].name)))
            return (int)i;
    return -1;
}

/* The library keeps this list and the time for all its handles: they are set
 * for each message before its handles are made. */
static bool set_message_options(struct signer *s, const struct signer_message *m)
{
    bool there[countof(covered)] = { false };
    const u_char *sealed[countof(covered) + 1];
    uint64_t seconds = m->wall_ms / SECOND_MS;
    struct mail_field f;
    size_t at = 0, n = 0;

    while (mail_header_next(m->header, &at, &f)) {
        int i = covered_index(f.name);

        if (i >= 0)
            there[i] = true;
    }
    for (size_t i = 0; i < countof(covered); i++)
        if (covered[i].how == SEALED || (covered[i].how == SEALED_IF_THERE && there[i]))
            sealed[n++] = (const u_char *)covered[i].name;
    sealed[n] = NULL;
    return dkim_options(s->lib, DKIM_OP_SETOPT, DKIM_OPTS_OVERSIGNHDRS, sealed, sizeof(u_char **)) == DKIM_STAT_OK &&
           dkim_options(s->lib, DKIM_OP_SETOPT, DKIM_OPTS_FIXEDTIME, &seconds, sizeof seconds) == DKIM_STAT_OK;
}

/* ---- one signature -------------------------------------------------------------- */

static struct err problem(DKIM *d, DKIM_STAT st, const char *step, char why[SIGNER_WHY_MAX])
{
    const char *told = d != NULL ? dkim_geterror(d) : NULL;

    if (told == NULL || told[0] == '\0')
        told = dkim_getresultstr(st);
    snprintf(why, SIGNER_WHY_MAX, "%s: %s", step, told != NULL ? told : "unknown error");
    if (st == DKIM_STAT_SYNTAX)
        return err_make(ERR_SYNTAX, "sign the message");
    if (st == DKIM_STAT_NORESOURCE || st == DKIM_STAT_SIGGEN)
        return err_make(ERR_DENIED, "sign with the key");
    return err_make(ERR_SYSTEM, "sign");
}

static struct err begin(struct signer *s, const struct signer_message *m, const struct signer_key *k, DKIM **out,
                        char why[SIGNER_WHY_MAX])
{
    DKIM_STAT st = DKIM_STAT_OK;

    LEAKS_BEGIN();
    *out = dkim_sign(s->lib, (const u_char *)m->id, NULL, (dkim_sigkey_t)k->pem, (const u_char *)k->selector,
                     (const u_char *)k->domain, DKIM_CANON_RELAXED, DKIM_CANON_RELAXED,
                     k->algorithm == SIGN_RSA_SHA256 ? DKIM_SIGN_RSASHA256 : DKIM_SIGN_ED25519SHA256, -1, &st);
    LEAKS_END();
    return *out != NULL ? ERR_OK : problem(NULL, st, "begin", why);
}

/* Only fields that a signature covers are shown to the library: what else a
 * header holds can't upset it. It takes a field without its last line end, and
 * as a C string. */
static struct err feed_header(DKIM *d, struct slice header, char why[SIGNER_WHY_MAX])
{
    struct mail_field f;
    size_t at = 0;
    DKIM_STAT st;

    while (mail_header_next(header, &at, &f)) {
        struct slice whole = f.whole;

        if (covered_index(f.name) < 0)
            continue;
        if (slice_find(whole, '\0') != whole.len) {
            snprintf(why, SIGNER_WHY_MAX, "the field %.*s holds a NUL", (int)f.name.len, f.name.ptr);
            return err_make(ERR_SYNTAX, "sign the message");
        }
        while (whole.len > 0 && (whole.ptr[whole.len - 1] == '\n' || whole.ptr[whole.len - 1] == '\r'))
            whole.len--;
        st = dkim_header(d, (u_char *)whole.ptr, whole.len);
        if (st != DKIM_STAT_OK)
            return problem(d, st, "header", why);
    }
    st = dkim_eoh(d);
    return st == DKIM_STAT_OK ? ERR_OK : problem(d, st, "header", why);
}

static struct err feed_piece(DKIM **handles, size_t count, struct slice piece, char why[SIGNER_WHY_MAX])
{
    for (size_t i = 0; i < count; i++) {
        DKIM_STAT st = dkim_body(handles[i], (u_char *)piece.ptr, piece.len);

        if (st != DKIM_STAT_OK)
            return problem(handles[i], st, "body", why);
    }
    return ERR_OK;
}

/* A last line without its end gets one, for the library refuses it; to the
 * relaxed form they are the same (RFC 6376 section 3.4.4), and DATA adds it. */
static struct err feed_body(DKIM **handles, size_t count, const struct signer_message *m, char why[SIGNER_WHY_MAX])
{
    bool line_open = false;
    struct slice piece = SLICE_EMPTY;
    struct err e;

    while (!err_failed(e = m->read(m->ctx, &piece)) && piece.len > 0) {
        line_open = piece.ptr[piece.len - 1] != '\n';
        e = feed_piece(handles, count, piece, why);
        if (err_failed(e))
            return e;
        piece = SLICE_EMPTY;
    }
    if (err_failed(e)) {
        err_text(e, why, SIGNER_WHY_MAX);
        return e;
    }
    return line_open ? feed_piece(handles, count, SLICE("\r\n"), why) : ERR_OK;
}

/* The library folds its field for milters: line ends may be a bare LF. */
static void add_field(struct buf *out, struct slice value)
{
    buf_add_str(out, FIELD_NAME);
    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i];

        if (c == '\r')
            continue;
        if (c == '\n')
            buf_add_byte(out, '\r');
        buf_add_byte(out, c);
    }
    buf_add_str(out, "\r\n");
}

static struct err end(DKIM *d, struct buf *out, char why[SIGNER_WHY_MAX])
{
    u_char *value = NULL;
    size_t len = 0;
    DKIM_STAT st;

    LEAKS_BEGIN(); /* it keeps a reference to the key: one more reason to replace a worker in time */
    st = dkim_eom(d, NULL);
    LEAKS_END();
    if (st != DKIM_STAT_OK)
        return problem(d, st, "sign", why);
    st = dkim_getsighdr_d(d, strlen(FIELD_NAME), &value, &len);
    if (st != DKIM_STAT_OK)
        return problem(d, st, "write the field", why);
    add_field(out, slice_make((const char *)value, len));
    return ERR_OK;
}

struct err signer_sign(struct signer *s, const struct signer_message *m, const struct signer_key *keys, size_t count,
                       struct buf *fields, char why[SIGNER_WHY_MAX])
{
    DKIM *handles[SIGN_KEYS_MAX] = { NULL };
    struct buf made = { 0 };
    struct err e = ERR_OK;

    why[0] = '\0';
    if (count == 0 || count > SIGN_KEYS_MAX || !set_message_options(s, m)) {
        snprintf(why, SIGNER_WHY_MAX, "can't set libopendkim up");
        return err_make(ERR_SYSTEM, "sign");
    }
    for (size_t i = 0; i < count && !err_failed(e); i++) {
        e = begin(s, m, &keys[i], &handles[i], why);
        if (!err_failed(e))
            e = feed_header(handles[i], m->header, why);
    }
    if (!err_failed(e))
        e = feed_body(handles, count, m, why);
    for (size_t i = 0; i < count && !err_failed(e); i++)
        e = end(handles[i], &made, why);
    for (size_t i = 0; i < count; i++)
        if (handles[i] != NULL)
            dkim_free(handles[i]);
    if (!err_failed(e))
        buf_add(fields, buf_bytes(&made));
    buf_release(&made);
    return e;
}
