/* Keys and values of the store as bytes: bounds-checked, versioned, documented byte by byte in schemas/FORMAT.md. */
#ifndef GX_CODEC_H
#define GX_CODEC_H

#include "arena.h"
#include "indexd/limits.h"
#include "keys.h"

#define GX_FORMAT_VERSION 1

struct gx_attribute {
    struct gx_slice key, value;
};

/* One enrolled photo without its embedding. Slices belong to whatever they were decoded from. */
struct gx_record {
    struct gx_slice record_id, subject_id, arrest_id;
    int64_t captured_at_us, enrolled_at_us;
    uint64_t epoch;
    struct gx_attribute attributes[GX_ATTRIBUTES_MAX];
    size_t n_attributes;
};

/* What the store knows of a gallery. */
struct gx_gallery_meta {
    uint32_t number; /* of the keys; never reused */
    struct gx_uuid uuid;
    char name[GX_NAME_MAX + 1];
    char embedder_id[GX_EMBEDDER_MAX + 1];
    char embedder_version[GX_EMBEDDER_MAX + 1];
    char engine[GX_ENGINE_MAX + 1]; /* as asked for */
    uint32_t dim;
    float default_effort;
    int64_t created_at_us;
    uint8_t state; /* enum gx_gallery_state */
};
enum gx_gallery_state { GX_GALLERY_ACTIVE = 1, GX_GALLERY_DELETING = 2 };

/* An expungement, as the ledger family keeps it. */
enum gx_ticket_state {
    GX_TICKET_ACCEPTED = 1,
    GX_TICKET_ERASED = 2,
    GX_TICKET_VERIFIED = 3,
    GX_TICKET_FAILED = 4,
};
/* How it was found that nothing is left. */
enum gx_ticket_method {
    GX_TICKET_UNCHECKED = 0,
    GX_TICKET_BYTES = 1, /* the rows' bytes were looked for in the files */
    GX_TICKET_STRUCTURAL =
        2, /* the rows are not known any more: no file that can hold them is older than the erasure */
};
struct gx_ticket {
    uint64_t number; /* from 1, never reused; text form "T-%08llu" */
    enum gx_ticket_state state;
    enum gx_id_kind kind;
    enum gx_ticket_method method;
    uint32_t gallery_number;
    struct gx_slice gallery, order_ref, problem;
    uint64_t n_records, n_unmatched, epoch;
    /* Facts, each true from its time on; 0 = not yet. */
    int64_t accepted_at_us, unindexed_at_us, flushed_at_us, compacted_at_us, unlinked_at_us, erased_at_us,
        verified_at_us, failed_at_us;
    uint64_t attempts; /* to erase */
    uint64_t files_rewritten, bytes_rewritten, files_removed;
    uint64_t files_scanned, bytes_scanned, files_left_out, control_hits;
    uint64_t certificate;           /* its serial number; 0 = none yet */
    int64_t deadline_at_us;         /* not stored: the server's present rule, 0 = not known */
    const uint64_t *rnos;           /* [n_records], ascending */
    const struct gx_slice *backups; /* [n_backups] not stored: ids of those that may still hold its records */
    size_t n_backups;
};

/* A backup, as the default family keeps it. */
enum gx_backup_state {
    GX_BACKUP_UNFINISHED = 1, /* begun: what there is of it may hold records */
    GX_BACKUP_COMPLETE = 2,
    GX_BACKUP_GONE = 3, /* its files were deleted */
    /* Not stored, but told: */
    GX_BACKUP_RUNNING = 4, /* UNFINISHED, being made now */
    GX_BACKUP_EXPIRED = 5, /* COMPLETE, but past its time, and its files could not be deleted */
};
struct gx_backup {
    uint64_t number; /* from 1, never reused; text form "B-%08llu" */
    enum gx_backup_state state;
    int64_t created_at_us; /* begun: whatever was erased before is not in it */
    int64_t expires_at_us; /* 0 = never by itself */
    int64_t gone_at_us;
    uint64_t epoch; /* of the store when it was begun */
    uint64_t n_bytes, n_files;
    char directory[GX_BACKUP_DIR_MAX + 1]; /* where it was made */
};

/* The keyed hashes that one row of a ticket stood under: kept until it is VERIFIED, to find the files that held it. */
struct gx_row_keys {
    struct gx_key record, arrest, subject; /* all zero = it had none */
};

/* The remembered outcome of a mutation with a request id. */
struct gx_request_memory {
    struct gx_digest content; /* of the request: the same id with other content is refused */
    int64_t at_us;
    uint64_t epoch, a, b; /* per mutation: Insert: enrolled, unchanged; Expunge: ticket, unused */
};

/* Keys. Numbers are big-endian so that byte order is number order. */
#define GX_KEY_ROW_LEN  12 /* gallery u32, rno u64: families emb, rec */
#define GX_KEY_ID_LEN   20 /* gallery u32, keyed hash: family by_record */
#define GX_KEY_LIST_LEN 28 /* gallery u32, keyed hash, rno u64: families by_arrest, by_subject */
void gx_codec_row_key(uint32_t gallery, uint64_t rno, uint8_t out[GX_KEY_ROW_LEN]);
void gx_codec_id_key(uint32_t gallery, const struct gx_key *key, uint8_t out[GX_KEY_ID_LEN]);
void gx_codec_list_key(uint32_t gallery, const struct gx_key *key, uint64_t rno, uint8_t out[GX_KEY_LIST_LEN]);
/* Big-endian, for keys. */
uint32_t gx_codec_get_u32(const uint8_t *p);
uint64_t gx_codec_get_u64(const uint8_t *p);
void gx_codec_put_u32(uint8_t *p, uint32_t v);
void gx_codec_put_u64(uint8_t *p, uint64_t v);

/* Keys of the default family. Fixed ones first; static storage. */
struct gx_slice gx_codec_key_schema(void);     /* counter: GX_FORMAT_VERSION */
struct gx_slice gx_codec_key_store_uuid(void); /* uuid */
struct gx_slice gx_codec_key_next_rno(void);   /* counters: the number that the next one gets */
struct gx_slice gx_codec_key_next_gallery(void);
struct gx_slice gx_codec_key_next_ticket(void);
struct gx_slice gx_codec_key_epoch(void);       /* counter: of the last mutation */
struct gx_slice gx_codec_key_signing_key(void); /* digest of the public key that certificates are signed with */
#define GX_KEY_GALLERY_LEN    5                 /* 'g', gallery u32 */
#define GX_KEY_GALLERY_PREFIX "g"
void gx_codec_key_gallery(uint32_t number, uint8_t out[GX_KEY_GALLERY_LEN]);
#define GX_KEY_REQUEST_LEN    17 /* 'r', keyed hash of the request id */
#define GX_KEY_REQUEST_PREFIX "r"
void gx_codec_key_request(const struct gx_key *key, uint8_t out[GX_KEY_REQUEST_LEN]);
#define GX_KEY_CERTIFICATE_LEN 9 /* 'c', ticket number u64 */
void gx_codec_key_certificate(uint64_t ticket, uint8_t out[GX_KEY_CERTIFICATE_LEN]);

#define GX_KEY_ERASURE_LEN 9 /* 'e', ticket number u64 */
void gx_codec_key_erasure(uint64_t number, uint8_t out[GX_KEY_ERASURE_LEN]);

struct gx_slice gx_codec_key_chain_end(void); /* the last certificate */

#define GX_KEY_BACKUP_LEN    9 /* 'b', number u64 */
#define GX_KEY_BACKUP_PREFIX "b"
void gx_codec_key_backup(uint64_t number, uint8_t out[GX_KEY_BACKUP_LEN]);

/* Key of the ledger family. */
#define GX_KEY_TICKET_LEN 8 /* ticket number u64 */
void gx_codec_key_ticket(uint64_t number, uint8_t out[GX_KEY_TICKET_LEN]);

/* Values of the fixed keys. */
#define GX_COUNTER_LEN    9  /* format byte, u64 */
#define GX_UUID_VALUE_LEN 17 /* format byte, 16 bytes */
void gx_codec_counter_encode(uint64_t counter, uint8_t out[GX_COUNTER_LEN]);
GX_MUST enum gx_status gx_codec_counter_decode(struct gx_slice value, uint64_t *out, struct gx_err *err);
void gx_codec_uuid_encode(const struct gx_uuid *uuid, uint8_t out[GX_UUID_VALUE_LEN]);
GX_MUST enum gx_status gx_codec_uuid_decode(struct gx_slice value, struct gx_uuid *out, struct gx_err *err);

#define GX_DIGEST_VALUE_LEN 33 /* format byte, 32 bytes */
void gx_codec_digest_encode(const struct gx_digest *digest, uint8_t out[GX_DIGEST_VALUE_LEN]);
GX_MUST enum gx_status gx_codec_digest_decode(struct gx_slice value, struct gx_digest *out, struct gx_err *err);

/* A certificate: format byte, its bytes. The decoded slice points into @value. */
GX_MUST enum gx_status gx_codec_certificate_encode(struct gx_slice certificate, struct gx_arena *arena,
                                                   struct gx_slice *out, struct gx_err *err);
GX_MUST enum gx_status gx_codec_certificate_decode(struct gx_slice value, struct gx_slice *out, struct gx_err *err);

/* emb value: format byte, 3 zero bytes, crc32c of the row, little-endian float32 row. */
#define GX_EMB_HEADER_LEN 8
size_t gx_codec_emb_len(size_t dim);
void gx_codec_emb_encode(const float *row, size_t dim, uint8_t *out);
/* Copies the row out. GX_E_CORRUPT: length, format byte or crc. */
GX_MUST enum gx_status gx_codec_emb_decode(struct gx_slice value, size_t dim, float *out_row, struct gx_err *err);

/* rec value. The decoded slices point into @value; attributes come back sorted by key. encode gives GX_E_INVALID for a
 * length out of limits.h or a key that stands twice, decode GX_E_CORRUPT for anything encode does not write. */
GX_MUST enum gx_status gx_codec_record_encode(const struct gx_record *record, struct gx_arena *arena,
                                              struct gx_slice *out, struct gx_err *err);
GX_MUST enum gx_status gx_codec_record_decode(struct gx_slice value, struct gx_record *out, struct gx_err *err);
/* The part of an encoded record that its sender decides (all but enrolled_at_us and epoch): equal bytes, same content,
 * whatever the order in which the attributes came. Empty when @value is too short to be a record. */
struct gx_slice gx_codec_record_content(struct gx_slice value);

/* default family: gallery meta, request memory, counters; ledger family: tickets. */
GX_MUST enum gx_status gx_codec_gallery_encode(const struct gx_gallery_meta *meta, struct gx_arena *arena,
                                               struct gx_slice *out, struct gx_err *err);
GX_MUST enum gx_status gx_codec_gallery_decode(struct gx_slice value, struct gx_gallery_meta *out, struct gx_err *err);
GX_MUST enum gx_status gx_codec_ticket_encode(const struct gx_ticket *ticket, struct gx_arena *arena,
                                              struct gx_slice *out, struct gx_err *err);
/* rnos are copied into the arena (@arena NULL: they are checked, and left NULL); slices point into @value. */
GX_MUST enum gx_status gx_codec_ticket_decode(struct gx_slice value, struct gx_arena *arena, struct gx_ticket *out,
                                              struct gx_err *err);
/* default family: where the chain of certificates ends. */
#define GX_CHAIN_END_LEN 41 /* format byte, serial u64, digest */
void gx_codec_chain_end_encode(uint64_t serial, const struct gx_digest *digest, uint8_t out[GX_CHAIN_END_LEN]);
GX_MUST enum gx_status gx_codec_chain_end_decode(struct gx_slice value, uint64_t *out_serial,
                                                 struct gx_digest *out_digest, struct gx_err *err);
/* default family: the rows of a ticket that is not VERIFIED, in the order of its rnos. */
GX_MUST enum gx_status gx_codec_erasure_encode(const struct gx_row_keys *rows, size_t n, struct gx_arena *arena,
                                               struct gx_slice *out, struct gx_err *err);
/* Exactly @n rows, copied out. GX_E_CORRUPT. */
GX_MUST enum gx_status gx_codec_erasure_decode(struct gx_slice value, struct gx_row_keys *out_rows, size_t n,
                                               struct gx_err *err);
/* default family: a backup; its number is in the key. */
#define GX_BACKUP_VALUE_MAX (52 + GX_BACKUP_DIR_MAX)
size_t gx_codec_backup_encode(const struct gx_backup *backup, uint8_t out[GX_BACKUP_VALUE_MAX]);
GX_MUST enum gx_status gx_codec_backup_decode(struct gx_slice key, struct gx_slice value, struct gx_backup *out,
                                              struct gx_err *err);
#define GX_REQUEST_MEMORY_LEN 72
void gx_codec_request_encode(const struct gx_request_memory *memory, uint8_t out[GX_REQUEST_MEMORY_LEN]);
GX_MUST enum gx_status gx_codec_request_decode(struct gx_slice value, struct gx_request_memory *out,
                                               struct gx_err *err);

/* Text rules, one place for wire, config and command line: GX_E_INVALID names the rule, never the text. */
/* Well-formed UTF-8 without control characters (U+0000..1F, 7F..9F), line separators and characters that turn the
 * writing direction (U+2028..202E, 2066..2069), min..max bytes. */
GX_MUST enum gx_status gx_codec_check_text(struct gx_slice text, size_t min, size_t max, const char *what,
                                           struct gx_err *err);
/* A gallery name. */
GX_MUST enum gx_status gx_codec_check_name(struct gx_slice name, struct gx_err *err);

#endif
