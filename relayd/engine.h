/* relayd/engine.h - the process that carries the mail. */
#ifndef RELAYD_ENGINE_H
#define RELAYD_ENGINE_H

#define ENGINE_TITLE "relayd: engine" /* its argv[0] */

/* Runs in the child: waits for START on the channel, serves until STOP or
 * until the parent is gone, and returns the exit code (sysexits.h). When the
 * very first engine ends with EX_CONFIG, EX_DATAERR, EX_CANTCREAT, EX_NOPERM,
 * EX_NOUSER or EX_USAGE before it was ready, the parent ends with the same
 * code; after any other end it starts a new one. */
int engine_main(int channel_fd);

#endif
