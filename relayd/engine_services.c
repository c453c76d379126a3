/* relayd/engine_services.c - what the engine offers its admin. */
#include "relayd/engine_internal.h"

#include "base/log.h"

struct err engine_services_start(struct engine *en)
{
    (void)en;
    return ERR_OK;
}

void engine_services_stop(struct engine *en)
{
    buf_release(&en->reload_text);
}

void engine_reload_outcome(struct engine *en, uint32_t serial, bool ok, struct slice text)
{
    pthread_mutex_lock(&en->reload_lock);
    en->reload_answered = serial;
    en->reload_ok = ok;
    buf_clear(&en->reload_text);
    buf_add(&en->reload_text, text);
    pthread_cond_broadcast(&en->reload_told);
    pthread_mutex_unlock(&en->reload_lock);
}
