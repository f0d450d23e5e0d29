/* The text of a certificate of expungement: what was removed, when each stage was reached, how it was checked, what it
 * covers and what not; signed. schemas/FORMAT.md has every field. It holds no id, no name of a person and no embedding:
 * ids stand there as keyed hashes. */
#ifndef GX_RECEIPT_H
#define GX_RECEIPT_H

#include "codec.h"

#define GX_RECEIPT_VERSION     1
#define GX_RECEIPT_HASHES_MAX  10000      /* record hashes that are listed; of more the digest only */
#define GX_RECEIPT_BACKUPS_MAX 1000       /* backups listed */
#define GX_RECEIPT_MAX         (2u << 20) /* bytes of a certificate: what is listed, and room */

/* A backup that still holds the records. */
struct gx_receipt_backup {
    struct gx_slice id; /* 1..64 bytes of text */
    int64_t created_at_us;
    int64_t expires_at_us; /* 0 = never by itself */
};

struct gx_receipt_in {
    const struct gx_ticket *ticket; /* with all its times and figures, and its serial number in `certificate` */
    struct gx_uuid store;
    struct gx_digest previous;    /* SHA-256 of the certificate before this one; zeros = it is the first */
    const struct gx_key *named;   /* [n_named] keyed hashes of the ids in the order, as in the ledger's entry */
    size_t n_named;               /* 1..GX_EXPUNGE_IDS_MAX */
    const struct gx_key *records; /* [ticket->n_records] keyed hashes of the record ids, in the order of the rnos */
    struct gx_slice reason;       /* structural: why the bytes could not be looked for; 1..256 bytes. Else empty */
    uint64_t hits;                /* of the final scan; anything but 0 is refused */
    const struct gx_receipt_backup *backups; /* [n_backups] */
    size_t n_backups;
};

/* The certificate's bytes, in the arena, and their SHA-256, which the next one names as `previous`. Its signature has
 * been checked. Same input, same bytes. Some milliseconds; any thread.
 * GX_E_STATE: something that a certificate must say is missing or speaks against it (a stage not reached, a hit, no
 * positive control); GX_E_INVALID: a text or a count out of range; GX_E_NOMEM, GX_E_TOO_LARGE, GX_E_INTERNAL. */
GX_MUST enum gx_status gx_receipt_make(const struct gx_receipt_in *in, const struct gx_signer *signer,
                                       struct gx_arena *arena, struct gx_slice *out, struct gx_digest *out_digest,
                                       struct gx_err *err);

#endif
