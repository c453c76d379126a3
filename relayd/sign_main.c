/* relayd/sign_main.c - gives a sign worker its keys, its link and its end. */
#include "relayd/sign_main.h"

#include "auth/sign_worker.h"
#include "base/mem.h"
#include "base/log.h"
#include "mail/dkim_record.h"
#include "net/keypair.h"
#include "net/sandbox.h"
#include "relayd/helper.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void spent(void *ctx)
{
    helper_finish(ctx);
}

static void unlinked(void *ctx)
{
    helper_unlinked(ctx);
}

static bool linked(const void *server)
{
    return sign_worker_linked(server);
}

static void set_keys(struct sign_worker *w, const struct settings *st)
{
    struct sign_worker_key *keys;
    size_t count = 0;

    for (size_t i = 0; i < st->domain_count; i++)
        count += st->domains[i].dkim_count;
    keys = mem_zero(count, sizeof *keys);
    count = 0;
    for (size_t i = 0; i < st->domain_count; i++) {
        for (size_t k = 0; k < st->domains[i].dkim_count; k++) {
            const struct settings_dkim *from = &st->domains[i].dkim[k];

            keys[count++] = (struct sign_worker_key){
                .domain = st->domains[i].name,
                .selector = from->selector,
                .algorithm = from->kind == MAIL_DKIM_RSA ? SIGN_RSA_SHA256 : SIGN_ED25519_SHA256,
                .pem = from->pem,
                .problem = from->problem,
            };
        }
    }
    sign_worker_set_keys(w, keys, count);
    free(keys);
}

/* All that the libraries ever open they open while signing with keys made for
 * it: the real ones may be broken now and mended later. */
static struct err warm_up(struct sign_worker *w)
{
    struct buf rsa = { 0 }, ed = { 0 };
    struct err e = keypair_generate(KEYPAIR_RSA, 1024, &rsa);

    if (!err_failed(e))
        e = keypair_generate(KEYPAIR_ED25519, 0, &ed);
    if (!err_failed(e)) {
        const struct sign_worker_key keys[] = {
            { "example.com", "rsa", SIGN_RSA_SHA256, buf_cstr(&rsa), NULL },
            { "example.com", "ed", SIGN_ED25519_SHA256, buf_cstr(&ed), NULL },
        };

        sign_worker_set_keys(w, keys, countof(keys));
    }
    buf_wipe(&rsa);
    buf_wipe(&ed);
    buf_release(&rsa);
    buf_release(&ed);
    return e;
}

static struct err enter_sandbox(void)
{
    struct sandbox_rules rules = { 0 };
    struct buf said = { 0 };
    struct err e = sandbox_enter(&rules, &said);

    if (buf_len(&said) != 0)
        log_info("sign", "%s", buf_cstr(&said));
    buf_release(&said);
    return e;
}

static struct err start(struct helper *h, struct loop *l, const struct settings *st, void **server, int *exit_code,
                        struct buf *why)
{
    struct sign_worker_options opt = { .loop = l, .jobs_max = SIGN_WORKER_JOBS, .spent = spent, .unlinked = unlinked, .ctx = h };
    struct sign_worker *w;
    struct err e = sign_worker_new(&opt, &w);

    if (err_failed(e))
        return e;
    e = warm_up(w);
    if (!err_failed(e))
        e = enter_sandbox();
    if (err_failed(e)) {
        sign_worker_free(w);
        return e;
    }
    set_keys(w, st);
    *server = w;
    return ERR_OK;
}

static struct err reload(void *server, const struct settings *st, struct buf *why)
{
    set_keys(server, st);
    return ERR_OK;
}

static void new_link(void *server, enum process_kind peer, unsigned index, int fd)
{
    if (peer == PROCESS_ENGINE)
        sign_worker_link(server, fd);
    else
        close(fd); /* nobody else may ask */
}

static void end(void *server)
{
    sign_worker_free(server);
}

static const struct helper_ops ops = {
    .name = "sign",
    .start = start,
    .reload = reload,
    .link = new_link,
    .linked = linked,
    .free = end,
};

int sign_main(int channel_fd)
{
    return helper_main(channel_fd, &ops);
}
