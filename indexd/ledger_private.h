/* What the files of the ledger share, and nobody else includes. */
#ifndef GX_LEDGER_PRIVATE_H
#define GX_LEDGER_PRIVATE_H

#include <stdatomic.h>

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
bool gx_ledger_ids_has(struct gx_ledger_ids *ids, enum gx_id_kind kind, const struct gx_key *key);

/* --- ledger_entry.c: the file's bytes (schemas/FORMAT.md) --- */

#define GX_LEDGER_FORMAT     1
#define GX_LEDGER_FIRST      4096 /* where the entries begin: behind header and marks, a sector each, and zeros */
#define GX_LEDGER_HEADER_LEN 64
#define GX_LEDGER_MARK_LEN   64
#define GX_LEDGER_MARK_AT(i) (512 + 512 * (uint64_t)((i) % 2)) /* of the mark after @i entries */
#define GX_LEDGER_HEAD_LEN   144                               /* the fixed beginning of an entry */
#define GX_LEDGER_TAIL_LEN   (GX_DIGEST_LEN + 4)               /* and its fixed end: the chain's head, and a checksum */
#define GX_LEDGER_ENTRY_MAX                                                                                            \
    (GX_LEDGER_HEAD_LEN + (uint64_t)GX_EXPUNGE_MAX * (8 + GX_KEY_LEN) + (uint64_t)GX_EXPUNGE_IDS_MAX * GX_KEY_LEN +    \
     GX_NAME_MAX + GX_ORDER_REF_MAX + GX_LEDGER_TAIL_LEN)

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

/* Does it carry what its type carries, and nothing else? The lists themselves are not looked at but for their lengths.
 * GX_E_INVALID, GX_E_TOO_LARGE. */
GX_MUST enum gx_status gx_ledger_entry_check(const struct gx_ledger_entry *entry, uint64_t *out_len,
                                             struct gx_err *err);
/* May it follow, behind an expungement of @last_number and a certificate of @last_serial? GX_E_INVALID. */
GX_MUST enum gx_status gx_ledger_entry_check_order(const struct gx_ledger_entry *entry, uint64_t last_number,
                                                   uint64_t last_serial, struct gx_err *err);
/* @len as told by check; *out_head = the chain with this entry after @before. */
GX_MUST enum gx_status gx_ledger_entry_encode(const struct gx_ledger_entry *entry, const struct gx_digest *before,
                                              uint8_t *out, uint64_t len, struct gx_digest *out_head,
                                              struct gx_err *err);

/* The length of the entry that begins with @head; 0 = this is no beginning of an entry, or (*out_unknown, its type,
 * else 0) one of a type that only a newer version knows. */
uint64_t gx_ledger_entry_len(const uint8_t head[GX_LEDGER_HEAD_LEN], unsigned *out_unknown);
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

/* --- ledger_file.c: one copy on the disk --- */

struct gx_ledger_faults {
    _Atomic(gx_ledger_fault *) fault; /* NULL = none */
    _Atomic(void *) arg;
    atomic_uint_least64_t n_steps;
};

struct gx_ledger_copy {
    int fd; /* -1 = not open */
    char *path;
    struct gx_ledger_faults *faults; /* NULL: it is only read */
};

/* What stands before the entries of one copy, and how long that copy is. */
struct gx_ledger_front {
    uint8_t header[GX_LEDGER_HEADER_LEN];
    uint8_t raw[2][GX_LEDGER_MARK_LEN];
    struct gx_ledger_mark marks[2];
    bool valid[2], blank[2];
    int newest; /* of the valid marks; -1 = none is */
    uint64_t size;
};

/* A ledger without entries. GX_E_EXISTS. */
GX_MUST enum gx_status gx_ledger_file_create(const char *path, const uint8_t header[GX_LEDGER_HEADER_LEN],
                                             struct gx_err *err);
/* Opens and locks the file at @path (copied): for us alone when it will be written to, else shared. On failure @out may
 * be closed, like one that is all zeros but for fd -1. */
GX_MUST enum gx_status gx_ledger_file_open(const char *path, struct gx_ledger_faults *faults,
                                           struct gx_ledger_copy *out, struct gx_err *err);
void gx_ledger_file_close(struct gx_ledger_copy *copy);
/* Is the open file still what stands at its path? GX_E_IO. */
GX_MUST enum gx_status gx_ledger_file_check_linked(const struct gx_ledger_copy *copy, struct gx_err *err);

GX_MUST enum gx_status gx_ledger_file_read(const struct gx_ledger_copy *copy, uint64_t offset, void *out, size_t len,
                                           struct gx_err *err);
GX_MUST enum gx_status gx_ledger_file_write(const struct gx_ledger_copy *copy, uint64_t offset, const void *bytes,
                                            size_t len, struct gx_err *err);
GX_MUST enum gx_status gx_ledger_file_sync(const struct gx_ledger_copy *copy, struct gx_err *err);
GX_MUST enum gx_status gx_ledger_file_write_durably(const struct gx_ledger_copy *copy, uint64_t offset,
                                                    const void *bytes, size_t len, struct gx_err *err);
/* To @len bytes, durably. */
GX_MUST enum gx_status gx_ledger_file_cut(const struct gx_ledger_copy *copy, uint64_t len, struct gx_err *err);

/* Reads and checks what stands before the entries; at least one mark is valid then. */
GX_MUST enum gx_status gx_ledger_file_read_front(const struct gx_ledger_copy *copy, struct gx_ledger_front *out,
                                                 struct gx_err *err);
/* GX_E_CORRUPT. */
enum gx_status gx_ledger_file_damaged(const struct gx_ledger_copy *copy, uint64_t offset, const char *what,
                                      struct gx_err *err);

/* --- ledger_read.c: the entries of one copy, checked --- */

/* Told of every entry, in order, and where it stands; other than GX_OK ends the reading. */
typedef enum gx_status gx_ledger_read_take(void *arg, const struct gx_ledger_entry *entry, uint64_t offset,
                                           uint64_t len, struct gx_err *err);

/* What was read. */
struct gx_ledger_reading {
    struct gx_ledger_front front;
    struct gx_ledger_mark now; /* what a mark for all that was read says: it may be newer than those that are there */
    uint64_t last_serial;      /* of a certificate */
    bool torn;                 /* behind that stands the beginning of an entry that was never acknowledged */
};

/* Reads all of it and changes nothing. GX_E_CORRUPT, GX_E_FORMAT, GX_E_IO, GX_E_NOMEM. */
GX_MUST enum gx_status gx_ledger_read_all(const struct gx_ledger_copy *copy, gx_ledger_read_take *take, void *arg,
                                          struct gx_ledger_reading *out, struct gx_err *err);

/* --- ledger_mirror.c: the second copy --- */

/* The first, as it was read and settled. */
struct gx_ledger_original {
    const struct gx_ledger_copy *copy;
    const uint8_t *header;                      /* [GX_LEDGER_HEADER_LEN] */
    const uint8_t (*marks)[GX_LEDGER_MARK_LEN]; /* [2] as they are on the disk */
    const struct gx_ledger_mark *now;
};

/* Makes the mirror at @path where there is none, refuses one that contradicts, catches up one that is behind. As
 * gx_ledger_file_open. */
GX_MUST enum gx_status gx_ledger_mirror_attach(const struct gx_ledger_original *original, const char *path,
                                               struct gx_ledger_faults *faults, struct gx_ledger_copy *out,
                                               struct gx_err *err);

#endif
