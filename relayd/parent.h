/* relayd/parent.h - the process that starts, watches and outlives the others.
 *
 * Single-threaded, reads nothing from the network. It has what the children
 * must not have: root, perhaps, and the right to bind ports. parent_main()
 * returns the exit code of the program (sysexits.h):
 *
 *   0               stopped by SIGTERM, SIGINT or on request of relayctl
 *   EX_CONFIG       the configuration is wrong
 *   EX_NOUSER       started as root and the engine's user does not exist
 *   EX_TEMPFAIL     another relayd has the queue
 *   EX_UNAVAILABLE  a port is taken, or cannot be had
 *   EX_CANTCREAT    state or runtime folder cannot be made
 *   EX_NOPERM       not allowed to: a port below 1024, another user's folder
 *   EX_OSERR        the system refuses a process, a descriptor…
 */
#ifndef RELAYD_PARENT_H
#define RELAYD_PARENT_H

int parent_main(const char *config_path);

#endif
