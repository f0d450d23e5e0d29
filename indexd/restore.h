/* A data directory out of a backup: the command `indexd restore`. */
#ifndef GX_RESTORE_H
#define GX_RESTORE_H

#include "codec.h"

struct gx_restore_in {
    const char *from;        /* directory of the backup */
    const char *data_dir;    /* to be made; must not exist or be empty */
    const char *ledger_path; /* where the server will look for the outer ledger; NULL = in data_dir */
    const char *live_ledger; /* the newest ledger there is; NULL = the one at ledger_path, where there is one */
};

struct gx_restore_out {
    uint64_t backup; /* its number */
    int64_t created_at_us;
    bool expired;     /* it should have been destroyed */
    bool has_live;    /* there was a live ledger: what was expunged since the backup is known */
    bool live_behind; /* but it was an older one than the backup's */
    uint64_t n_files, n_bytes;
};

/* Checks every file of the backup against its digest first, then copies, checking again. Of the ledgers the one that
 * knows more is what the new directory gets (one at ledger_path stays where it is). Durable on return; after a failure
 * nothing new is left. Reads everything twice.
 * GX_E_NOT_FOUND, GX_E_CORRUPT, GX_E_FORMAT (naming the file), GX_E_EXISTS, GX_E_STATE (ledgers of which neither is an
 * older copy of the other; an interrupted backup), GX_E_IN_USE (a server has the live ledger), GX_E_FULL, GX_E_IO. */
GX_MUST enum gx_status gx_restore_run(const struct gx_restore_in *in, struct gx_restore_out *out, struct gx_err *err);

#endif
