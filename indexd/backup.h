/* Backups: consistent copies of the data directory, made while the server runs, and the register of them. The register
 * is in the store and in the outer ledger, so that a ticket can say which backups may still hold its records. */
#ifndef GX_BACKUP_H
#define GX_BACKUP_H

#include "galleries.h"

struct gx_backup_progress {
    const char *stage; /* "waiting", "copying", "finishing"; static */
    uint64_t bytes_done, bytes_total;
};

/* All from the thread of backups. */
typedef void gx_backup_on_progress(void *arg, const struct gx_backup_progress *progress); /* twice a second at most */
typedef bool gx_backup_stop(void *arg);                                                   /* true = break it off */
typedef void gx_backup_on_done(void *arg, const struct gx_backup *backup, const struct gx_err *err);

struct gx_backup_in {
    struct gx_slice directory;          /* absolute; must not exist, nor be in the data directory; copied */
    int64_t expires_in_us;              /* 0 = never by itself */
    gx_backup_on_progress *on_progress; /* may be NULL */
    gx_backup_stop *stop;               /* may be NULL */
    gx_backup_on_done *on_done;         /* once; @err NULL = the backup is complete and durable */
    void *arg;
};

/* Makes a backup on a thread of its own; enrolment, search and expungement go on. What was acknowledged when it began
 * is in it. Refusals come by on_done from within this call. GX_E_INVALID (the directory), GX_E_EXISTS, GX_E_STATE
 * (another one is being made), GX_E_UNAVAILABLE (an erasure must not wait any longer; the server stops),
 * GX_E_CANCELLED, GX_E_FULL, GX_E_IO: nothing of it is left. */
void gx_backup_submit(struct gx_galleries *galleries, const struct gx_backup_in *in);

/* Newest first, at most GX_PAGE_MAX. @with_gone: also those that are deleted. Any thread. */
GX_MUST enum gx_status gx_backup_list(struct gx_galleries *galleries, bool with_gone, struct gx_arena *arena,
                                      struct gx_backup **out, size_t *out_n, struct gx_err *err);

/* Deletes the files, durably, and says so in register and ledger. @files_are_gone: the caller vouches for that they
 * were destroyed where they had been moved to. Repeatable. GX_E_NOT_FOUND; GX_E_STATE (it is being made; or its files
 * are not where it was made), GX_E_IO, GX_E_FULL. Blocks for as long as deleting takes. */
GX_MUST enum gx_status gx_backup_remove(struct gx_galleries *galleries, uint64_t number, bool files_are_gone,
                                        struct gx_backup *out, struct gx_err *err);

/* Fills in the backups of each ticket: those that may still hold its records. In the arena; any thread. */
GX_MUST enum gx_status gx_backup_name(struct gx_galleries *galleries, struct gx_ticket *tickets, size_t n,
                                      struct gx_arena *arena, struct gx_err *err);

/* For tests: called before each step that can fail, with its ordinal number (the first from now on is 1); a result
 * other than GX_OK makes the step fail with it. NULL = none. Set while no backup is made. */
typedef enum gx_status gx_backup_fault(void *arg, uint64_t ordinal);
void gx_backup_set_fault(struct gx_galleries *galleries, gx_backup_fault *fault, void *arg);

#endif
