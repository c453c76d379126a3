/* Any bytes as somebody who logs in, or as a server that we log in at. The
 * first byte chooses the side and the mechanism, the second whether there is a
 * channel binding, a certificate, a first response. The rest are messages,
 * each behind its length (one byte); '%' in one stands for the nonce the other
 * side said last, which no fuzzer can guess.
 *
 * Nobody is proven to be anybody: the keys are of no password.
 */
#include "auth/sasl.h"
#include "auth/sasl_client.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NOTED_MAX 256

struct script {
    struct slice rest;
    char nonce[NOTED_MAX];
};

/* "…r=NONCE,…" */
static void note_nonce(struct script *s, struct slice said)
{
    const char *at = said.len > 2 ? memmem(said.ptr, said.len, "r=", 2) : NULL;
    struct slice nonce;

    if (at == NULL)
        return;
    nonce = slice_from(said, (size_t)(at - said.ptr) + 2);
    nonce = slice_head(slice_head(nonce, slice_find(nonce, ',')), NOTED_MAX - 1);
    memcpy(s->nonce, nonce.ptr, nonce.len);
    s->nonce[nonce.len] = '\0';
}

static bool next_message(struct script *s, struct buf *out)
{
    struct slice text;

    buf_clear(out);
    if (s->rest.len == 0)
        return false;
    text = slice_head(slice_from(s->rest, 1), (unsigned char)s->rest.ptr[0]);
    s->rest = slice_from(s->rest, 1 + text.len);
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '%')
            buf_add_str(out, s->nonce);
        else
            buf_add(out, slice_make(text.ptr + i, 1));
    }
    return true;
}

static void some_keys(void *ctx, const char *authid, struct scram_keys *out)
{
    if (authid == NULL)
        abort();
    memset(out, 0x5a, sizeof *out);
    out->iterations = 4096;
}

static void check_step(const struct sasl_step *step, const char *mechanism)
{
    switch (step->state) {
    case SASL_CHALLENGE:
        return;
    case SASL_VERIFY:
        if (step->authid == NULL || !sasl_sends_password(mechanism))
            abort();
        return;
    case SASL_PROVEN:
        if (strcmp(mechanism, "EXTERNAL") != 0 || strcmp(step->authid, "cert@example.com") != 0)
            abort();
        return;
    case SASL_FAILED:
    case SASL_UNABLE:
        if (step->why == NULL)
            abort();
        return;
    }
    abort();
}

static void as_server(struct script *s, uint8_t which, uint8_t how)
{
    static const char *const names[] = { "PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "EXTERNAL" };
    static struct sasl *sasl;
    struct slice binding = how & 1 ? SLICE("0123456789abcdef0123456789abcdef") : SLICE_EMPTY;
    const char *mechanism = sasl_mechanism(names[which % countof(names)]);
    struct sasl_step step = { .state = SASL_CHALLENGE };
    struct sasl_session *session;
    struct buf message = { 0 };
    bool first = (how & 2) != 0;

    if (sasl == NULL && err_failed(sasl_new(&sasl)))
        abort();
    if (mechanism == NULL || err_failed(sasl_begin(sasl, mechanism, binding, how & 4 ? "cert@example.com" : NULL,
                                                   some_keys, NULL, &session)))
        return;
    if (!first) {
        sasl_step(session, SLICE_EMPTY, false, &step);
        check_step(&step, mechanism);
    }
    while (step.state == SASL_CHALLENGE && next_message(s, &message)) {
        sasl_step(session, buf_bytes(&message), true, &step);
        check_step(&step, mechanism);
        if (step.state == SASL_CHALLENGE)
            note_nonce(s, step.challenge);
    }
    sasl_end(session);
    buf_release(&message);
}

static void as_client(struct script *s, uint8_t which, uint8_t how)
{
    struct sasl_login_options opt = { .user = "user", .password = "password", .token = "token" };
    enum sasl_mechanism m = which % SASL_MECHANISM_COUNT;
    struct sasl_login *login = sasl_login_new(&opt);
    struct sasl_client *c =
        sasl_client_new(login, m, how & 1 ? SLICE("0123456789abcdef0123456789abcdef") : SLICE_EMPTY);
    struct buf message = { 0 }, out = { 0 };
    bool goes_on = c != NULL;

    if (goes_on && sasl_client_speaks_first(c)) {
        goes_on = sasl_client_step(c, SLICE_EMPTY, &out);
        note_nonce(s, buf_bytes(&out));
    }
    while (goes_on && next_message(s, &message)) {
        buf_clear(&out);
        goes_on = sasl_client_step(c, buf_bytes(&message), &out);
        if (!goes_on && sasl_client_problem(c) == NULL)
            abort();
    }
    if (c != NULL && sasl_client_complete(c) && (m == SASL_SCRAM_SHA_256 || m == SASL_SCRAM_SHA_256_PLUS))
        abort(); /* the server has proven that it knows the password */
    sasl_client_free(c);
    sasl_login_unref(login);
    buf_release(&message);
    buf_wipe(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script s = { 0 };

    if (size < 2)
        return 0;
    s.rest = slice_make(data + 2, size - 2);
    if (data[0] & 128)
        as_client(&s, data[0] & 127, data[1]);
    else
        as_server(&s, data[0], data[1]);
    return 0;
}
