/* Small helpers around files and directories: whole reads, durable replacement. */
#ifndef GX_FILE_H
#define GX_FILE_H

#include "arena.h"

/* Joins @dir and @name into @out_path[@n]; GX_E_INVALID when it does not fit. */
GX_MUST enum gx_status gx_file_path(const char *dir, const char *name, char *out_path, size_t n, struct gx_err *err);

/* Reads a whole file of at most @max bytes into the arena. GX_E_NOT_FOUND, GX_E_TOO_LARGE, GX_E_IO. */
GX_MUST enum gx_status gx_file_read(const char *path, size_t max, struct gx_arena *arena, struct gx_slice *out,
                                    struct gx_err *err);

/* Writes @bytes to a new file of mode @mode: temporary name beside it, fsync, rename, fsync of the directory.
 * With @replace false an existing file is GX_E_EXISTS. Durable on return. A crash may leave "@path.tmp". */
GX_MUST enum gx_status gx_file_write(const char *path, struct gx_slice bytes, unsigned mode, bool replace,
                                     struct gx_err *err);

/* write(2) until everything is written, across EINTR and short writes. @what names the file in the error. */
GX_MUST enum gx_status gx_file_write_all(int fd, const void *bytes, size_t len, const char *what, struct gx_err *err);

/* fsync of a directory: makes a rename, creation or unlink in it durable. */
GX_MUST enum gx_status gx_file_sync_dir(const char *dir, struct gx_err *err);

/* The same of the directory that @path stands in. */
GX_MUST enum gx_status gx_file_sync_parent(const char *path, struct gx_err *err);

/* unlink and fsync of the directory; a file that is not there is fine. */
GX_MUST enum gx_status gx_file_remove(const char *path, struct gx_err *err);

/* Creates a directory of mode 0700; one that exists and is empty is fine, another is GX_E_EXISTS. */
GX_MUST enum gx_status gx_file_make_dir(const char *path, struct gx_err *err);

/* Removes a directory and all that is in it; links are not followed. GX_E_IO. */
GX_MUST enum gx_status gx_file_remove_tree(const char *path, struct gx_err *err);

#endif
