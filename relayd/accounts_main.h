/* relayd/accounts_main.h - the process that has the users. */
#ifndef RELAYD_ACCOUNTS_MAIN_H
#define RELAYD_ACCOUNTS_MAIN_H

#include "auth/accounts_server.h"
#include "relayd/settings.h"

#define ACCOUNTS_TITLE "relayd: accounts"

int accounts_main(int channel_fd);

#endif
