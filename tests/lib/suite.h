/* The run of a Check suite, and a folder for programs whose tests leave files behind even when they crash. */
#ifndef GX_SUITE_H
#define GX_SUITE_H

#include <check.h>

/* Runs the suite as the environment wants it, and frees it; the exit status of the program. */
int gx_suite_run(Suite *suite);

/* The same with a folder under $TMPDIR or /tmp, which is removed when all tests have ended, however they did. */
int gx_suite_run_in_folder(Suite *suite);
const char *gx_suite_folder(void);
/* A path in it of this test's own, under which nothing is. */
void gx_suite_new_path(char out[256]);

#endif
