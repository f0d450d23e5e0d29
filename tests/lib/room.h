/* A data directory of the test's own, with galleries open in this process: for tests of the paths without a network.
 * Asserts with Check; RocksDB's threads do not survive fork, so everything happens inside one forked test. */
#ifndef GX_ROOM_H
#define GX_ROOM_H

#include "backup.h"
#include "enrol.h"
#include "expunge.h"
#include "gallery_private.h"
#include "hold.h"
#include "lookup.h"
#include "people.h"
#include "search.h"

#define GX_ROOM_DIM 64

struct gx_room {
    char dir[64];
    struct gx_galleries_options options;
    struct gx_galleries *galleries;
    struct gx_people people;
    struct gx_arena arena; /* of answers; reset by each search */
};

/* Creates the directory under $TMPDIR or /tmp and opens it; close leaves it, end removes it. */
void gx_room_begin(struct gx_room *room);
void gx_room_open(struct gx_room *room);
void gx_room_close(struct gx_room *room);
void gx_room_end(struct gx_room *room);

/* A gallery of GX_ROOM_DIM, embedder "e" "1". */
void gx_room_create(struct gx_room *room, const char *gallery, const char *engine);

/* Enrols the people's rows [first, first + n) in one request; waits for the answer. */
enum gx_status gx_room_enrol(struct gx_room *room, const char *gallery, uint64_t first, size_t n,
                             const char *request_id, struct gx_enrol_out *out, struct gx_err *err);
/* The embedding of the people's row @row once more, as record @record_id of nobody. */
enum gx_status gx_room_enrol_as(struct gx_room *room, const char *gallery, uint64_t row, const char *record_id,
                                struct gx_err *err);
/* Records of the test's own making. */
enum gx_status gx_room_enrol_records(struct gx_room *room, const char *gallery, const struct gx_new_record *records,
                                     size_t n, const char *request_id, struct gx_enrol_out *out, struct gx_err *err);
/* All of [0, n), a thousand at a time; asserts success. */
void gx_room_fill(struct gx_room *room, const char *gallery, uint64_t n);

/* Waits for the answer, whose outcomes last until the next call. @expected -1 = not given. */
enum gx_status gx_room_expunge(struct gx_room *room, const char *gallery, enum gx_id_kind kind, const char *const *ids,
                               size_t n_ids, int64_t expected, bool validate_only, const char *request_id,
                               struct gx_expunge_out *out, struct gx_err *err);

/* @ids NULL and @n_ids 0: release everything under the reference. */
enum gx_status gx_room_place(struct gx_room *room, const char *gallery, enum gx_id_kind kind, const char *const *ids,
                             size_t n_ids, const char *reference, bool quarantine, const char *request_id,
                             struct gx_hold_out *out, struct gx_err *err);
enum gx_status gx_room_release(struct gx_room *room, const char *gallery, enum gx_id_kind kind, const char *const *ids,
                               size_t n_ids, const char *reference, const char *request_id, struct gx_hold_out *out,
                               struct gx_err *err);
/* Makes a backup in @dir and waits for its end. */
enum gx_status gx_room_backup(struct gx_room *room, const char *dir, int64_t expires_in_us, struct gx_backup *out,
                              struct gx_err *err);

/* One probe: the embedding of the people's row @row. */
enum gx_status gx_room_search(struct gx_room *room, const char *gallery, uint64_t row, struct gx_search_in *in,
                              struct gx_search_result **out, struct gx_err *err);
/* A search with the defaults of the wire. */
struct gx_search_in gx_room_defaults(uint32_t k);

/* Is the people's row @row returned when its own embedding is searched for, among @k? */
bool gx_room_finds(struct gx_room *room, const char *gallery, uint64_t row, uint32_t k);
bool gx_room_has_record(struct gx_room *room, const char *gallery, uint64_t row);

/* Waits until the condition holds (asking every few milliseconds); fails the test after a minute. */
#define gx_room_wait_until(condition)                                                                                  \
    do {                                                                                                               \
        int64_t gx_room_end_ = gx_clock_monotonic_us() + 60000000;                                                     \
        while (!(condition)) {                                                                                         \
            ck_assert_msg(gx_clock_monotonic_us() < gx_room_end_, "never came true: %s", #condition);                  \
            nanosleep(&(struct timespec){0, 2000000}, NULL);                                                           \
        }                                                                                                              \
    } while (0)

#endif
