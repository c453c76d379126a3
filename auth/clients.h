/* auth/clients.h - how many connections are open, and by whom. Any thread. */
#ifndef AUTH_CLIENTS_H
#define AUTH_CLIENTS_H

#include "net/addr.h"

struct clients;

struct clients *clients_new(void);
void clients_free(struct clients *c);

enum clients_verdict { CLIENTS_OK, CLIENTS_TOO_MANY, CLIENTS_TOO_MANY_OF_THIS };

/* Counts one more connection, unless a limit (0 = none) is reached. */
enum clients_verdict clients_enter(struct clients *c, const struct net_addr *addr, unsigned all_max,
                                   unsigned per_client_max);
void clients_leave(struct clients *c, const struct net_addr *addr);
unsigned clients_count(struct clients *c);

#endif
