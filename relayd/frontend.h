/* relayd/frontend.h - connections that a front end passes on: its PROXY header
 * first, then a session with the client it names. acceptor_accept() is here. */
#ifndef RELAYD_FRONTEND_H
#define RELAYD_FRONTEND_H

#include "relayd/acceptor.h"

void frontends_release(struct acceptor *a); /* closes what still waits for its header */

#endif
