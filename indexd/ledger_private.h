/* What the files of the ledger share, and nobody else includes. */
#ifndef GX_LEDGER_PRIVATE_H
#define GX_LEDGER_PRIVATE_H

#include "ledger.h"

/* --- ledger_ids.c: the expunged ids, a hash table that only grows --- */

struct gx_ledger_ids;

GX_MUST enum gx_status gx_ledger_ids_new(struct gx_ledger_ids **out, struct gx_err *err);
void gx_ledger_ids_free(struct gx_ledger_ids *ids);
/* Makes room for @n more ids, so that adding them cannot fail. One thread at a time, as the next two. */
GX_MUST enum gx_status gx_ledger_ids_reserve(struct gx_ledger_ids *ids, size_t n, struct gx_err *err);
/* There must be room. Readers may see some of the ids before others. */
void gx_ledger_ids_add(struct gx_ledger_ids *ids, enum gx_id_kind kind, const struct gx_key *keys, size_t n);
/* From now on others read while we add: tables that are outgrown are kept for them. */
void gx_ledger_ids_share(struct gx_ledger_ids *ids);
/* From any thread, without a lock. */
bool gx_ledger_ids_holds(struct gx_ledger_ids *ids, enum gx_id_kind kind, const struct gx_key *key);

/* --- ledger_entry.c: the file's bytes (schemas/FORMAT.md) --- */

#define GX_LEDGER_FORMAT     1
#define GX_LEDGER_FIRST      4096 /* where the entries begin: behind header and marks, a sector each, and zeros */
#define GX_LEDGER_HEADER_LEN 64
#define GX_LEDGER_MARK_LEN   64
#define GX_LEDGER_MARK_AT(i) (512 + 512 * (uint64_t)((i) % 2)) /* of the mark after @i entries */
#define GX_LEDGER_HEAD_LEN   64                                /* the fixed beginning of an entry */
#define GX_LEDGER_ENTRY_MAX                                                                                            \
    (GX_LEDGER_HEAD_LEN + (uint64_t)GX_EXPUNGE_MAX * (8 + GX_KEY_LEN) + (uint64_t)GX_EXPUNGE_IDS_MAX * GX_KEY_LEN +    \
     GX_NAME_MAX + GX_ORDER_REF_MAX + 4 + GX_DIGEST_LEN)

/* What was acknowledged. */
struct gx_ledger_mark {
    uint64_t n_entries, len, last_number;
    struct gx_digest head;
};

void gx_ledger_entry_encode_header(const struct gx_uuid *id, int64_t created_at_us, uint8_t out[GX_LEDGER_HEADER_LEN]);
/* GX_E_FORMAT: another version. GX_E_CORRUPT. */
GX_MUST enum gx_status gx_ledger_entry_check_header(const uint8_t header[GX_LEDGER_HEADER_LEN], struct gx_err *err);

void gx_ledger_entry_encode_mark(const struct gx_ledger_mark *mark, uint8_t out[GX_LEDGER_MARK_LEN]);
GX_MUST bool gx_ledger_entry_decode_mark(const uint8_t bytes[GX_LEDGER_MARK_LEN], struct gx_ledger_mark *out);

/* GX_E_INVALID, GX_E_TOO_LARGE. */
GX_MUST enum gx_status gx_ledger_entry_check(const struct gx_ledger_entry *entry, uint64_t *out_len,
                                             struct gx_err *err);
/* @len as told by check; *out_head = the chain with this entry after @before. */
GX_MUST enum gx_status gx_ledger_entry_encode(const struct gx_ledger_entry *entry, const struct gx_digest *before,
                                              uint8_t *out, uint64_t len, struct gx_digest *out_head,
                                              struct gx_err *err);

/* The length of the entry that begins with @head; 0 = this is no beginning of an entry. */
uint64_t gx_ledger_entry_len(const uint8_t head[GX_LEDGER_HEAD_LEN]);
enum gx_ledger_finding {
    GX_LEDGER_WHOLE,
    GX_LEDGER_INCOMPLETE, /* the file ends inside it */
    GX_LEDGER_BROKEN,     /* not what was written */
    GX_LEDGER_STRANGE,    /* what was written, but not in this place */
};
/* Of @len bytes (as gx_ledger_entry_len says) in memory aligned for uint64_t, which are changed, and borrowed by @out.
 * *out_finding says whether it is the entry that follows @before; a failure is one of OpenSSL's. */
GX_MUST enum gx_status gx_ledger_entry_decode(uint8_t *bytes, uint64_t len, const struct gx_digest *before,
                                              struct gx_ledger_entry *out, enum gx_ledger_finding *out_finding,
                                              struct gx_err *err);

#endif
