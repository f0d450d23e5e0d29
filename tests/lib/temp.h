/* Places of a test's or a measurement's own under $TMPDIR, or /tmp without one. Whatever fails ends the process and
 * says what on the standard error: a $TMPDIR that is too long for @size, or that nothing can be made in. */
#ifndef GX_TEMP_H
#define GX_TEMP_H

#include <stddef.h>

/* A new folder, mode 0700, whose path goes to @out[@size]. The caller removes it. */
void gx_temp_folder(const char *name, char *out, size_t size);
/* A new file, mode 0600, open for reading and writing; the same otherwise. */
int gx_temp_file(const char *name, char *out, size_t size);
/* The same without a name: it goes when it is closed. */
int gx_temp_nameless_file(void);

#endif
