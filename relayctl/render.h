/* relayctl/render.h - the API's documents as text for people. */
#ifndef RELAYCTL_RENDER_H
#define RELAYCTL_RENDER_H

#include "relayctl/table.h"

/* One row for each recipient; add as many pages as there are, then flush. */
void render_queue_table(struct table *t, bool color, size_t line_max);
void render_queue_rows(struct table *t, const json_t *page);

void render_status(struct buf *out, const json_t *doc, bool color);
void render_message(struct buf *out, const json_t *doc, bool color);
void render_trace(struct buf *out, const json_t *doc, bool color);

/* "users", and rows of the accounts process's answers. */
void render_users(struct buf *out, const json_t *users, bool color, size_t line_max);
void render_user(struct buf *out, const json_t *rows, bool color);
void render_app_passwords(struct buf *out, const json_t *rows, bool color, size_t line_max);
void render_bans(struct buf *out, const json_t *rows, bool color, size_t line_max);

#endif
