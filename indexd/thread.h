/* How soon a thread gets a processor. */
#ifndef GX_THREAD_H
#define GX_THREAD_H

/* The calling thread mostly waits, and somebody waits for it: once it wakes, it shall run before what computes. Asks
 * for short turns (sched_setattr(2), sched_runtime of SCHED_OTHER); a kernel before 6.12 knows none, and nothing
 * changes. Needs no privilege. */
void gx_thread_be_prompt(void);

#endif
