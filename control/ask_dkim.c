/* control/ask_dkim.c - GET /v1/dkim. */
#include "control/request.h"

#include "control/view_dkim.h"

#include <string.h>

#define DOMAIN_SIZE 256

struct asking {
    struct request *request;
    char domain[DOMAIN_SIZE];
    bool check, bad;
    json_t *keys;
};

static bool take_argument(void *ctx, const char *name, const char *value)
{
    struct asking *a = ctx;

    if (strcmp(name, "domain") == 0 && strlen(value) < sizeof a->domain) {
        memcpy(a->domain, value, strlen(value) + 1);
        return true;
    }
    if (strcmp(name, "check") == 0 && strcmp(value, "yes") == 0) {
        a->check = true;
        return true;
    }
    request_refuse(a->request, 400, "bad_argument", "%s \"%.200s\": there is no such argument", name, value);
    a->bad = true;
    return false;
}

static void take_key(void *ctx, const struct control_key *k)
{
    struct asking *a = ctx;
    const struct control_options *opt = &a->request->control->opt;
    struct control_txt txt = { .state = CONTROL_TXT_UNKNOWN };
    json_t *key = view_key(k);
    struct buf name = { 0 };

    if (a->check && k->record != NULL) {
        view_key_name(k, &name);
        opt->txt(opt->ctx, buf_cstr(&name), &txt);
    }
    if (a->check)
        view_key_dns(key, k, &txt);
    json_array_append_new(a->keys, key);
    buf_release(&txt.texts);
    buf_release(&name);
}

void request_dkim(struct request *r, struct slice id, struct slice verb)
{
    struct asking a = { .request = r, .keys = json_array() };
    const struct control_options *opt = &r->control->opt;

    r->each_argument(r, take_argument, &a);
    if (!a.bad && opt->keys != NULL)
        opt->keys(opt->ctx, a.domain[0] != '\0' ? a.domain : NULL, take_key, &a);
    if (a.bad) {
        json_decref(a.keys);
    } else if (json_array_size(a.keys) == 0 && a.domain[0] != '\0') {
        json_decref(a.keys);
        request_refuse(r, 404, "not_found", "%s is no domain with \"dkim\" in the configuration", a.domain);
    } else {
        r->status = 200;
        r->document = json_pack("{so}", "keys", a.keys);
    }
}
