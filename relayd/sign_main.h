/* relayd/sign_main.h - the process "relayd: sign". */
#ifndef RELAYD_SIGN_MAIN_H
#define RELAYD_SIGN_MAIN_H

#define SIGN_TITLE "relayd: sign"

int sign_main(int channel_fd); /* returns the exit code */

#endif
