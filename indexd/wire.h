/* Messages of indexd.v1 <-> the in/out structs of floor 3. Every range, text rule and form is checked here, once: what
 * a decoder returns is well-formed (texts are UTF-8 of the allowed length, numbers finite and in range, dim > 0). What
 * needs a gallery (its dimension, its embedder) or a scan of the whole request (an id twice) is floor 3's to check.
 *
 * Decoders: @message is borrowed; the output points into the arena, which takes at most 8 x the message's length and a
 * bounded rest. GX_E_INVALID names the field ("options.k: 1..1000, got 5000"), never a value of a text field;
 * GX_E_TOO_LARGE: the message unfolds to more than it may. Nothing blocks; any thread, one arena each. */
#ifndef GX_WIRE_H
#define GX_WIRE_H

#include <stdalign.h>

#include "absent.h"
#include "backup.h"
#include "enrol.h"
#include "expunge.h"
#include "hold.h"
#include "lookup.h"
#include "manifest.h"
#include "search.h"

/* A reply ready for encoding. Points into itself, into the arena and into what it was built from: not to be copied, and
 * none of them may go before gx_wire_pack. */
struct gx_wire_reply {
    const void *message;
    size_t len; /* bytes that gx_wire_pack writes */
    alignas(16) uint8_t room[512];
};
void gx_wire_pack(const struct gx_wire_reply *reply, uint8_t *out);

/* --- Search. Replies are encoded by hand: len gives the exact length, encode writes that many bytes. --- */

/* @out is complete but for `stopped`. */
GX_MUST enum gx_status gx_wire_search_decode(struct gx_slice message, struct gx_arena *arena, struct gx_search_in *out,
                                             struct gx_err *err);
GX_MUST enum gx_status gx_wire_search_decode_batch(struct gx_slice message, struct gx_arena *arena,
                                                   struct gx_search_in *out, struct gx_err *err);
/* *out_readable = the message could be read, so *out_tag is the client's; then a failure concerns this request only. */
GX_MUST enum gx_status gx_wire_search_decode_stream(struct gx_slice message, struct gx_arena *arena, uint64_t *out_tag,
                                                    bool *out_readable, struct gx_search_in *out, struct gx_err *err);

size_t gx_wire_search_len(const struct gx_search_result *result);
void gx_wire_search_encode(const struct gx_search_result *result, uint8_t *out);
size_t gx_wire_search_len_batch(const struct gx_search_result *results, size_t n);
void gx_wire_search_encode_batch(const struct gx_search_result *results, size_t n, uint8_t *out);
/* @error NULL: the answer is @result, else it is @error. */
size_t gx_wire_search_len_stream(uint64_t tag, const struct gx_search_result *result, const struct gx_err *error);
void gx_wire_search_encode_stream(uint64_t tag, const struct gx_search_result *result, const struct gx_err *error,
                                  uint8_t *out);

/* --- Records --- */

struct gx_wire_ack {
    uint64_t messages, epoch, enrolled, unchanged;
};
struct gx_wire_get_in {
    struct gx_slice gallery;
    const struct gx_slice *ids; /* [n_ids] */
    size_t n_ids;
    bool with_row;
};
struct gx_wire_list_in {
    struct gx_slice gallery, arrest, subject;
    uint64_t from;
    size_t n;
};

/* @stream_gallery: what a message without a gallery means; empty = it must name one. One that names another is
 * GX_E_INVALID. */
GX_MUST enum gx_status gx_wire_records_decode_insert(struct gx_slice message, struct gx_slice stream_gallery,
                                                     struct gx_arena *arena, struct gx_enrol_in *out,
                                                     struct gx_err *err);
GX_MUST enum gx_status gx_wire_records_decode_get(struct gx_slice message, struct gx_arena *arena,
                                                  struct gx_wire_get_in *out, struct gx_err *err);
GX_MUST enum gx_status gx_wire_records_decode_list(struct gx_slice message, struct gx_arena *arena,
                                                   struct gx_wire_list_in *out, struct gx_err *err);
void gx_wire_records_build_inserted(const struct gx_enrol_out *enrolled, struct gx_wire_reply *out);
void gx_wire_records_build_ack(const struct gx_wire_ack *ack, struct gx_wire_reply *out);
/* @dim of the rows, where there are any. */
GX_MUST enum gx_status gx_wire_records_build_get(const struct gx_stored_record *records, size_t n, size_t dim,
                                                 struct gx_arena *arena, struct gx_wire_reply *out, struct gx_err *err);
GX_MUST enum gx_status gx_wire_records_build_list(const struct gx_stored_record *records, size_t n, uint64_t next,
                                                  struct gx_arena *arena, struct gx_wire_reply *out,
                                                  struct gx_err *err);

/* --- Expungement --- */

struct gx_wire_tickets_in {
    struct gx_slice gallery;
    uint64_t before;
    size_t n;
};

GX_MUST enum gx_status gx_wire_expunge_decode(struct gx_slice message, struct gx_arena *arena,
                                              struct gx_expunge_in *out, struct gx_err *err);
GX_MUST enum gx_status gx_wire_expunge_decode_ticket(struct gx_slice message, struct gx_arena *arena,
                                                     uint64_t *out_number, struct gx_err *err);
GX_MUST enum gx_status gx_wire_expunge_decode_tickets(struct gx_slice message, struct gx_arena *arena,
                                                      struct gx_wire_tickets_in *out, struct gx_err *err);
/* *out_number 0: the request is for the public key only. */
GX_MUST enum gx_status gx_wire_expunge_decode_certificate(struct gx_slice message, struct gx_arena *arena,
                                                          uint64_t *out_number, struct gx_err *err);
void gx_wire_expunge_build_certificate(struct gx_slice certificate, struct gx_slice public_key,
                                       struct gx_wire_reply *out);
GX_MUST enum gx_status gx_wire_expunge_build(const struct gx_expunge_out *expunged, struct gx_arena *arena,
                                             struct gx_wire_reply *out, struct gx_err *err);
/* With its backups. */
GX_MUST enum gx_status gx_wire_expunge_build_ticket(const struct gx_ticket *ticket, struct gx_arena *arena,
                                                    struct gx_wire_reply *out, struct gx_err *err);
GX_MUST enum gx_status gx_wire_expunge_build_tickets(const struct gx_ticket *tickets, size_t n, uint64_t next,
                                                     struct gx_arena *arena, struct gx_wire_reply *out,
                                                     struct gx_err *err);

/* @out is complete but for `stopped`. */
GX_MUST enum gx_status gx_wire_absent_decode(struct gx_slice message, struct gx_arena *arena, struct gx_absent_in *out,
                                             struct gx_err *err);
GX_MUST enum gx_status gx_wire_absent_build(const struct gx_absent_out *absent, struct gx_arena *arena,
                                            struct gx_wire_reply *out, struct gx_err *err);

/* --- Holds --- */

GX_MUST enum gx_status gx_wire_holds_decode_place(struct gx_slice message, struct gx_arena *arena,
                                                  struct gx_hold_in *out, struct gx_err *err);
GX_MUST enum gx_status gx_wire_holds_decode_release(struct gx_slice message, struct gx_arena *arena,
                                                    struct gx_hold_in *out, struct gx_err *err);
GX_MUST enum gx_status gx_wire_holds_decode_list(struct gx_slice message, struct gx_arena *arena,
                                                 struct gx_hold_list_in *out, struct gx_err *err);
void gx_wire_holds_build_changed(const struct gx_hold_out *changed, struct gx_wire_reply *out);
GX_MUST enum gx_status gx_wire_holds_build_list(const struct gx_hold_listed *holds, size_t n, uint64_t next,
                                                struct gx_arena *arena, struct gx_wire_reply *out, struct gx_err *err);

/* --- Backups --- */

/* @out is complete but for its callbacks. */
GX_MUST enum gx_status gx_wire_backups_decode_create(struct gx_slice message, struct gx_arena *arena,
                                                     struct gx_backup_in *out, struct gx_err *err);
GX_MUST enum gx_status gx_wire_backups_decode_list(struct gx_slice message, struct gx_arena *arena, bool *out_with_gone,
                                                   struct gx_err *err);
GX_MUST enum gx_status gx_wire_backups_decode_delete(struct gx_slice message, struct gx_arena *arena,
                                                     uint64_t *out_number, bool *out_files_are_gone,
                                                     struct gx_err *err);
void gx_wire_backups_build_progress(const struct gx_backup_progress *progress, struct gx_wire_reply *out);
void gx_wire_backups_build_made(const struct gx_backup *backup, struct gx_wire_reply *out);
void gx_wire_backups_build_one(const struct gx_backup *backup, struct gx_wire_reply *out);
GX_MUST enum gx_status gx_wire_backups_build_list(const struct gx_backup *backups, size_t n, struct gx_arena *arena,
                                                  struct gx_wire_reply *out, struct gx_err *err);

/* --- Galleries --- */

struct gx_wire_build_in {
    struct gx_slice name, engine;
};

GX_MUST enum gx_status gx_wire_galleries_decode_create(struct gx_slice message, struct gx_arena *arena,
                                                       struct gx_create_in *out, struct gx_err *err);
/* GetGalleryRequest: of Get and Stats. */
GX_MUST enum gx_status gx_wire_galleries_decode_name(struct gx_slice message, struct gx_arena *arena,
                                                     struct gx_slice *out_name, struct gx_err *err);
GX_MUST enum gx_status gx_wire_galleries_decode_list(struct gx_slice message, struct gx_arena *arena,
                                                     struct gx_err *err);
GX_MUST enum gx_status gx_wire_galleries_decode_delete(struct gx_slice message, struct gx_arena *arena,
                                                       struct gx_remove_in *out, struct gx_err *err);
GX_MUST enum gx_status gx_wire_galleries_decode_build(struct gx_slice message, struct gx_arena *arena,
                                                      struct gx_wire_build_in *out, struct gx_err *err);
/* @out is complete but for `stopped`. */
GX_MUST enum gx_status gx_wire_galleries_decode_measure(struct gx_slice message, struct gx_arena *arena,
                                                        struct gx_recall_in *out, struct gx_err *err);
void gx_wire_galleries_build_one(const struct gx_gallery_info *gallery, struct gx_wire_reply *out);
GX_MUST enum gx_status gx_wire_galleries_build_list(const struct gx_gallery_info *galleries, size_t n,
                                                    struct gx_arena *arena, struct gx_wire_reply *out,
                                                    struct gx_err *err);
void gx_wire_galleries_build_deleted(uint64_t records, uint64_t epoch, struct gx_wire_reply *out);
void gx_wire_galleries_build_queued(const char *engine, struct gx_wire_reply *out);
void gx_wire_galleries_build_recall(const struct gx_recall_out *recall, struct gx_wire_reply *out);
void gx_wire_galleries_build_stats(struct gx_slice name, const struct gx_gallery_stats *stats,
                                   struct gx_wire_reply *out);

#endif
