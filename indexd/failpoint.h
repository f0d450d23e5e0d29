/* Places where a crash test lets the process die: the environment variable INDEXD_FAILPOINT holds "name" or "name:N"
 * (the Nth passage), and the process kills itself there with SIGKILL. Unset, a passage costs one load. */
#ifndef GX_FAILPOINT_H
#define GX_FAILPOINT_H

/* Reads the environment; once, before threads start. */
void gx_failpoint_init(void);

void gx_failpoint_pass(const char *name);

#endif
