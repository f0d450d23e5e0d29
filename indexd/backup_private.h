/* What the files of backups share (backup.c, backup_files.c, backup_register.c, restore.c), and nobody else includes.
 */
#ifndef GX_BACKUP_PRIVATE_H
#define GX_BACKUP_PRIVATE_H

#include "backup.h"
#include "gallery_private.h"
#include "manifest.h"

#define GX_BACKUP_PATH_MAX 1400 /* of a file in a backup or a data directory */

/* The order: whoever wants several takes them from top to bottom. */
struct gx_backups {
    pthread_mutex_t files; /* held by who deletes the files of a backup */
    pthread_mutex_t lock;  /* guards all below; short */
    pthread_cond_t changed;
    pthread_t thread;
    bool started, stopping;
    struct gx_backup_job *job; /* queued or running; NULL = none */
    uint64_t running;          /* its number; 0 = it has none yet */

    /* An erasure and the hard links of a backup keep clear of each other. */
    bool erasing;       /* an erase run goes on */
    bool wanting;       /* a backup waits for its end */
    bool linked;        /* files below the data directory belong to a backup: nothing can be erased */
    bool yield;         /* an erasure must not wait any longer */
    uint64_t n_held_up; /* erase runs that had to wait; tests look at it */

    uint64_t next; /* number; writer thread only */
    gx_backup_fault *fault;
    void *fault_arg;
    uint64_t n_steps;
};

/* One work on many files. */
struct gx_backup_copier {
    enum gx_status (*check)(void *arg, uint64_t bytes_done, struct gx_err *err); /* before each piece; may be NULL */
    void *arg;
    uint8_t *buffer; /* of open, wiped by close */
    uint64_t bytes_done;
};

/* One that is being made. */
struct gx_backup_job {
    struct gx_galleries *galleries;
    struct gx_backup_in in;
    char asked[GX_BACKUP_DIR_MAX + 1];
    bool taken; /* it runs */

    struct gx_backup backup;
    struct gx_arena arena;
    char temporary[GX_BACKUP_PATH_MAX], links[GX_BACKUP_PATH_MAX];
    bool has_number, has_links;
    struct gx_backup_copier copier;
    struct gx_manifest_file *files; /* [n_files] */
    size_t n_files, cap_files;
    struct gx_backup_progress progress;
    int64_t told_at_us, copying_since_us;
};

/* --- backup.c --- */

/* GX_OK, or why it ends here. */
GX_MUST enum gx_status gx_backup_may_go_on(struct gx_backup_job *job, struct gx_err *err);
/* From GX_OK on no erase run begins, until leave. */
GX_MUST enum gx_status gx_backup_enter_links(struct gx_backup_job *job, struct gx_err *err);
void gx_backup_leave_links(struct gx_galleries *galleries);

/* --- backup_make.c --- */

/* All of it, and tells; frees the job. */
void gx_backup_make_run(struct gx_backup_job *job);

/* --- backup_files.c --- */

GX_MUST enum gx_status gx_backup_copier_open(struct gx_backup_copier *copier, struct gx_err *err);
void gx_backup_copier_close(struct gx_backup_copier *copier);

/* A real copy at @to, which must not exist, of the same mode, durable but for its folder's entry. */
GX_MUST enum gx_status gx_backup_files_copy(struct gx_backup_copier *copier, const char *from, const char *to,
                                            uint64_t *out_bytes, struct gx_digest *out_digest, struct gx_err *err);
/* Reads it only. */
GX_MUST enum gx_status gx_backup_files_digest(struct gx_backup_copier *copier, const char *path, uint64_t *out_bytes,
                                              struct gx_digest *out_digest, struct gx_err *err);

/* The manifest in @dir. GX_E_NOT_FOUND, and as gx_manifest_decode, naming the file. */
GX_MUST enum gx_status gx_backup_files_manifest(const char *dir, struct gx_arena *arena, struct gx_manifest *out,
                                                struct gx_err *err);
GX_MUST enum gx_status gx_backup_files_put_manifest(const char *dir, const struct gx_manifest *manifest,
                                                    struct gx_arena *arena, struct gx_err *err);

/* Deletes backup @number of @store, whole or not, in @dir and "@dir.tmp": durably, nothing but what a backup has, its
 * manifest last. What is left is an empty "@dir.tmp", so that a death before the register knows is no riddle: drop
 * takes that away afterwards. *out_found false: there was nothing of it, perhaps because its disk is not there. */
GX_MUST enum gx_status gx_backup_files_remove(const char *dir, uint64_t number, const struct gx_uuid *store,
                                              bool *out_found, struct gx_err *err);
/* "@dir.tmp", when nothing is in it. */
void gx_backup_files_drop(const char *dir);

/* --- backup_register.c --- */

/* Notes a new one in ledger and store, and gives it its number. */
GX_MUST enum gx_status gx_backup_note_begun(struct gx_galleries *galleries, struct gx_backup *backup,
                                            struct gx_err *err);
GX_MUST enum gx_status gx_backup_note_complete(struct gx_galleries *galleries, struct gx_backup *backup,
                                               struct gx_err *err);
GX_MUST enum gx_status gx_backup_note_gone(struct gx_galleries *galleries, struct gx_backup *backup,
                                           struct gx_err *err);
/* Reads the register: the number that the next one gets. Before threads. */
GX_MUST enum gx_status gx_backup_count(struct gx_galleries *galleries, uint64_t *out_next, struct gx_err *err);
/* What a crash left unfinished is settled, what has expired is deleted, as far as the files can be reached. */
void gx_backup_tidy(struct gx_galleries *galleries);

#endif
