/* The data directory as a whole: who has it, which files it may hold, and the ballast that a full disk is met with. */
#ifndef GX_DATADIR_H
#define GX_DATADIR_H

#include "err.h"

struct gx_datadir; /* thread-safe */

/* Takes the directory for this process, until close. @own[@n_own] are paths of files that may stand in it besides those
 * of the table in schemas/FORMAT.md (a ledger or its mirror, the configuration); NULL and paths elsewhere are fine.
 * GX_E_NOT_FOUND; GX_E_IN_USE: a server or another tool has it; GX_E_INVALID (too long), GX_E_IO, GX_E_NOMEM. */
GX_MUST enum gx_status gx_datadir_open(const char *dir, const char *const *own, size_t n_own, struct gx_datadir **out,
                                       struct gx_err *err);
void gx_datadir_close(struct gx_datadir *datadir); /* NULL is fine */

/* --- files --- */

/* Something that is not indexd's, or that is not what its name says: a link in place of a folder, for example. A folder
 * is one stray, with all that is in it. */
struct gx_datadir_stray {
    const char *name; /* relative to the directory; of a folder with a slash at its end */
    bool is_folder;
    uint64_t n_files, n_bytes; /* of a folder: of all files below it */
    int64_t modified_us;       /* the latest of them */
    const char *hint;          /* what it probably is, "" when there is nothing to say; static */
};
typedef enum gx_status gx_datadir_visit(void *arg, const struct gx_datadir_stray *stray, struct gx_err *err);

/* Visits every stray, by name; what @visit returns besides GX_OK ends it. It may move the stray away. */
GX_MUST enum gx_status gx_datadir_list(struct gx_datadir *datadir, gx_datadir_visit *visit, void *arg,
                                       struct gx_err *err);

/* GX_E_STATE when there are strays, with their names: rows that were erased could live on in them. */
GX_MUST enum gx_status gx_datadir_check(struct gx_datadir *datadir, struct gx_err *err);

/* Removes what a crash has left of files that were being written: it means nothing. Durable on return. */
GX_MUST enum gx_status gx_datadir_clean(struct gx_datadir *datadir, size_t *out_n, struct gx_err *err);

/* Moves a stray of that name into the directory @into, which is made when it is missing and must not be in the data
 * directory (GX_E_INVALID). It keeps its path below @into, with a number at its end where that is taken. Durable on
 * return, also when @into is on another file system; what was copied there is removed here last. */
GX_MUST enum gx_status gx_datadir_quarantine(struct gx_datadir *datadir, const char *name, const char *into,
                                             struct gx_err *err);

/* --- room --- */

/* Of the file system: what this process could still write, and its size. A file system that tells no sizes: both
 * UINT64_MAX. */
GX_MUST enum gx_status gx_datadir_room(struct gx_datadir *datadir, uint64_t *out_free, uint64_t *out_total,
                                       struct gx_err *err);

/* Makes a ballast of @bytes, or takes away one when that is 0; one that is there is kept. *out_made false: there is not
 * room for it twice. GX_E_IO. */
GX_MUST enum gx_status gx_datadir_make_ballast(struct gx_datadir *datadir, uint64_t bytes, bool *out_made,
                                               struct gx_err *err);

/* Gives the ballast up, durably. *out_freed 0: there was none. GX_E_IO. */
GX_MUST enum gx_status gx_datadir_release_ballast(struct gx_datadir *datadir, uint64_t *out_freed, struct gx_err *err);

/* The size of the ballast; 0 = none. */
uint64_t gx_datadir_ballast(struct gx_datadir *datadir);

#endif
