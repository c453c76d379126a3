/* relayd/settings_accounts.c - where users and passwords come from. */
#include "relayd/settings_schema.h"

/* The program by its path, absolute; the arguments as they stand. */
void settings_take_command(struct conf *c, const struct conf_stmt *s, void *into)
{
    const char **argv = pool_zero(c->pool, s->arg_count + 1, sizeof *argv);
    size_t count = 0;

    for (size_t i = 0; i < s->arg_count; i++) {
        if (s->args[i].comma)
            conf_error(c, &s->args[i], "the arguments stand without commas");
        else
            argv[count++] = i == 0 ? conf_path(c, s->args[i].file, s->args[i].text) : pool_dup(c->pool, s->args[i].text);
    }
    *(const char *const **)into = argv;
}

void settings_take_scram(struct conf *c, const struct conf_stmt *s, void *into)
{
    enum settings_scram *scram = into;

    *scram = slice_eq(s->args[0].text, SLICE("on"))    ? SETTINGS_SCRAM_ON
             : slice_eq(s->args[0].text, SLICE("off")) ? SETTINGS_SCRAM_OFF
                                                       : SETTINGS_SCRAM_AUTO;
}

bool settings_offer_scram(const struct settings *s)
{
    if (s->accounts.scram != SETTINGS_SCRAM_AUTO)
        return s->accounts.scram == SETTINGS_SCRAM_ON;
    return s->accounts.file == NULL && s->accounts.command == NULL;
}
