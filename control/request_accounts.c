/* control/request_accounts.c - what an admin asks about users, passed on to
 * the accounts process, which alone has them. */
#include "control/request.h"

#include "control/accounts_json.h"

#define ACCOUNTS_PATIENCE_MS 4000u /* less than the time relayctl waits for an answer */

static void refuse_status(struct request *r, enum admin_status status, json_t *document)
{
    static const struct {
        enum admin_status status;
        unsigned http;
        const char *code;
    } rows[] = {
        { ADMIN_NOT_FOUND, 404, "not_found" }, { ADMIN_EXISTS, 409, "exists" },  { ADMIN_BAD, 400, "bad_argument" },
        { ADMIN_FAILED, 500, "storage" },      { ADMIN_BUSY, 503, "busy" },
    };
    json_t *text = json_incref(json_object_get(document, "text"));
    size_t i = 0;

    json_decref(document);
    while (i + 1 < countof(rows) && rows[i].status != status)
        i++;
    request_refuse(r, rows[i].http, rows[i].code, "%s", json_string_value(text));
    json_decref(text);
}

static void pass_on(struct request *r, struct buf *request)
{
    struct buf answer = { 0 };
    struct err e = accounts_admin_ask(r->control->opt.accounts, buf_bytes(request), ACCOUNTS_PATIENCE_MS, &answer);
    enum admin_status status = ADMIN_FAILED;
    json_t *document;

    if (err_failed(e)) {
        request_refuse(r, e.kind == ERR_LIMIT ? 413 : 503, e.kind == ERR_LIMIT ? "too_large" : "busy", "%s", e.what);
        buf_wipe(&answer);
        return;
    }
    document = accounts_answer_json(buf_bytes(&answer), &status);
    buf_wipe(&answer);
    if (document == NULL) {
        request_refuse(r, 500, "storage", "the accounts process gave an answer that makes no sense");
    } else if (status != ADMIN_OK) {
        refuse_status(r, status, document);
    } else {
        r->status = 200;
        r->document = document;
    }
}

void request_accounts(struct request *r, struct slice id, struct slice op)
{
    struct buf request = { 0 };
    const char *why = NULL;
    json_error_t problem;
    json_t *body = buf_len(&r->body) == 0
                       ? json_object()
                       : json_loadb(buf_bytes(&r->body).ptr, buf_len(&r->body), JSON_REJECT_DUPLICATES, &problem);

    if (r->control->opt.accounts == NULL || !accounts_expected(r->control->opt.accounts))
        request_refuse(r, 503, "no_accounts", "there is no accounts process: no listener takes logins");
    else if (body == NULL)
        request_refuse(r, 400, "bad_body", "the body is not JSON: %s", problem.text);
    else if (!accounts_request_of_json(op, body, &request, &why))
        request_refuse(r, 400, "bad_body", "the body can't be used: %s", why);
    else
        pass_on(r, &request);
    buf_wipe(&request);
    accounts_wipe_json(body);
    json_decref(body);
}
