/* control/request.h - one request to the admin API and its answer. */
#ifndef CONTROL_REQUEST_H
#define CONTROL_REQUEST_H

#include "control/content.h"
#include "control/control.h"
#include "control/filter.h"
#include "control/json.h"
#include "control/source.h"

#include <pthread.h>

struct control {
    struct control_options opt;
    char *hostname, *runtime_dir;
    struct source source;
    struct MHD_Daemon *daemon;
    pthread_mutex_t lock;
    pthread_cond_t quiet;
    unsigned active; /* requests being answered */
};

/* The query string's names and values, as the HTTP library hands them out. */
typedef bool request_visitor(void *ctx, const char *name, const char *value); /* false: stop */

struct request {
    struct control *control;
    const char *method;
    struct slice path;
    void (*each_argument)(struct request *r, request_visitor *visit, void *ctx);
    void *http;
    struct buf body;
    /* the answer */
    unsigned status;
    json_t *document;
    struct content *content; /* instead of a document; or NULL */
};

/* Answers; status and document are set afterwards. */
void request_serve(struct request *r);
/* POST v1/accounts/OP: request_accounts.c */
void request_accounts(struct request *r, struct slice id, struct slice op);
/* {"error": {"code": …, "message": …}} */
void request_refuse(struct request *r, unsigned status, const char *code, const char *fmt, ...) PRINTF_LIKE(4, 5);
void request_dkim(struct request *r, struct slice id, struct slice verb); /* ask_dkim.c */
void request_release(struct request *r);

#endif
