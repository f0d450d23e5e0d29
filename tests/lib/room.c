#include "room.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "clock.h"
#include "file.h"
#include "log.h"
#include "temp.h"

#define SEED 7

void gx_room_begin(struct gx_room *room)
{
    struct gx_err err;
    memset(room, 0, sizeof(*room));
    gx_log_set_level(GX_LOG_ERROR);
    gx_temp_folder("room", room->dir, sizeof(room->dir));
    ck_assert_msg(gx_galleries_create(room->dir, NULL, &err) == GX_OK, "%s", err.text);
    ck_assert(gx_people_init(&room->people, SEED, GX_ROOM_DIM, 10000));
    gx_arena_init(&room->arena, (size_t)256 << 20);
    room->options.data_dir = room->dir;
    room->options.erase_retry_us = 1000;
    gx_room_open(room);
}

void gx_room_open(struct gx_room *room)
{
    struct gx_err err;
    ck_assert_msg(gx_galleries_open(&room->options, &room->galleries, &err) == GX_OK, "%s", err.text);
    ck_assert_msg(gx_galleries_wait_loaded(room->galleries, &err) == GX_OK, "%s", err.text);
}

void gx_room_close(struct gx_room *room)
{
    gx_galleries_close(room->galleries);
    room->galleries = NULL;
}

void gx_room_end(struct gx_room *room)
{
    struct gx_err err;
    gx_room_close(room);
    gx_arena_fini(&room->arena);
    ck_assert_msg(gx_file_remove_tree(room->dir, &err) == GX_OK, "%s", err.text);
}

void gx_room_create(struct gx_room *room, const char *gallery, const char *engine)
{
    struct gx_create_in in = {.name = gx_slice_text(gallery),
                              .embedder_id = gx_slice_text("e"),
                              .embedder_version = gx_slice_text("1"),
                              .engine = gx_slice_text(engine),
                              .dim = GX_ROOM_DIM};
    struct gx_gallery_info info;
    struct gx_err err;
    ck_assert_msg(gx_galleries_add(room->galleries, &in, &info, &err) == GX_OK, "%s", err.text);
}

/* --- waiting for answers --- */

struct answer {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool done;
    enum gx_status status;
    struct gx_err err;
    struct gx_enrol_out enrolled;
    struct gx_expunge_out expunged;
    struct gx_backup backup;
};
#define ANSWER                                                                                                         \
    {                                                                                                                  \
        .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER                                            \
    }

static void answered(struct answer *a, const struct gx_err *err)
{
    pthread_mutex_lock(&a->lock);
    a->status = err == NULL ? GX_OK : err->status;
    if (err != NULL)
        a->err = *err;
    a->done = true;
    pthread_cond_signal(&a->wake);
    pthread_mutex_unlock(&a->lock);
}

static enum gx_status await(struct answer *a, struct gx_err *err)
{
    pthread_mutex_lock(&a->lock);
    while (!a->done)
        pthread_cond_wait(&a->wake, &a->lock);
    pthread_mutex_unlock(&a->lock);
    if (err != NULL)
        *err = a->err;
    return a->status;
}

static void enrolled(void *arg, const struct gx_enrol_out *out, const struct gx_err *err)
{
    struct answer *a = arg;
    if (err == NULL)
        a->enrolled = *out;
    answered(a, err);
}

static void expunged(void *arg, const struct gx_expunge_out *out, const struct gx_err *err)
{
    struct answer *a = arg;
    if (err == NULL) {
        static struct gx_expunge_outcome outcomes[64]; /* more are for the tests of the wire */
        a->expunged = *out;
        for (size_t i = 0; i < out->n_outcomes && i < GX_COUNT_OF(outcomes); i++)
            outcomes[i] = out->outcomes[i];
        a->expunged.outcomes = outcomes;
        a->expunged.ticket.gallery = a->expunged.ticket.order_ref = a->expunged.ticket.problem =
            (struct gx_slice){NULL, 0};
    }
    answered(a, err);
}

enum gx_status gx_room_enrol_records(struct gx_room *room, const char *gallery, const struct gx_new_record *records,
                                     size_t n, const char *request_id, struct gx_enrol_out *out, struct gx_err *err)
{
    struct answer a = ANSWER;
    struct gx_enrol_in in = {.gallery = gx_slice_text(gallery),
                             .records = records,
                             .n = n,
                             .request_id = gx_slice_text(request_id == NULL ? "" : request_id)};
    gx_enrol_submit(room->galleries, &in, enrolled, &a);
    enum gx_status status = await(&a, err);
    if (out != NULL)
        *out = a.enrolled;
    return status;
}

enum gx_status gx_room_enrol(struct gx_room *room, const char *gallery, uint64_t first, size_t n,
                             const char *request_id, struct gx_enrol_out *out, struct gx_err *err)
{
    struct gx_new_record *records = calloc(n, sizeof(*records));
    float *rows = calloc(n * GX_ROOM_DIM, sizeof(*rows));
    char(*ids)[3][GX_PEOPLE_ID_MAX] = calloc(n, sizeof(*ids));
    ck_assert(records != NULL && rows != NULL && ids != NULL);
    for (size_t i = 0; i < n; i++) {
        struct gx_people_photo photo;
        gx_people_row(&room->people, first + i, rows + i * GX_ROOM_DIM, &photo);
        gx_people_record_id(first + i, ids[i][0]);
        gx_people_subject_id(photo.person, ids[i][1]);
        gx_people_arrest_id(photo.person, photo.arrest, ids[i][2]);
        records[i] = (struct gx_new_record){.row = rows + i * GX_ROOM_DIM,
                                            .dim = GX_ROOM_DIM,
                                            .embedder_id = gx_slice_text("e"),
                                            .embedder_version = gx_slice_text("1")};
        records[i].record = (struct gx_record){.record_id = gx_slice_text(ids[i][0]),
                                               .subject_id = gx_slice_text(ids[i][1]),
                                               .arrest_id = gx_slice_text(ids[i][2]),
                                               .captured_at_us = (int64_t)(first + i + 1)};
        records[i].record.attributes[0] =
            (struct gx_attribute){gx_slice_text("site"), gx_slice_text((first + i) % 2 == 0 ? "even" : "odd")};
        records[i].record.n_attributes = 1;
    }
    enum gx_status status = gx_room_enrol_records(room, gallery, records, n, request_id, out, err);
    free(records);
    free(rows);
    free(ids);
    return status;
}

enum gx_status gx_room_enrol_as(struct gx_room *room, const char *gallery, uint64_t row, const char *record_id,
                                struct gx_err *err)
{
    float floats[GX_ROOM_DIM];
    gx_people_row(&room->people, row, floats, NULL);
    const struct gx_new_record record = {.record = {.record_id = gx_slice_text(record_id)},
                                         .row = floats,
                                         .dim = GX_ROOM_DIM,
                                         .embedder_id = gx_slice_text("e"),
                                         .embedder_version = gx_slice_text("1")};
    return gx_room_enrol_records(room, gallery, &record, 1, NULL, NULL, err);
}

void gx_room_fill(struct gx_room *room, const char *gallery, uint64_t n)
{
    for (uint64_t i = 0; i < n; i += 1000) {
        struct gx_err err;
        ck_assert_msg(gx_room_enrol(room, gallery, i, (size_t)GX_MIN(n - i, 1000u), NULL, NULL, &err) == GX_OK, "%s",
                      err.text);
    }
}

enum gx_status gx_room_expunge(struct gx_room *room, const char *gallery, enum gx_id_kind kind, const char *const *ids,
                               size_t n_ids, int64_t expected, bool validate_only, const char *request_id,
                               struct gx_expunge_out *out, struct gx_err *err)
{
    struct gx_slice *slices = calloc(n_ids + 1, sizeof(*slices));
    struct answer a = ANSWER;
    ck_assert_ptr_nonnull(slices);
    for (size_t i = 0; i < n_ids; i++)
        slices[i] = gx_slice_text(ids[i]);
    struct gx_expunge_in in = {.gallery = gx_slice_text(gallery),
                               .kind = kind,
                               .ids = slices,
                               .n_ids = n_ids,
                               .order_ref = gx_slice_text("order 2026-1"),
                               .expected_count = expected,
                               .validate_only = validate_only,
                               .request_id = gx_slice_text(request_id == NULL ? "" : request_id)};
    gx_expunge_submit(room->galleries, &in, expunged, &a);
    enum gx_status status = await(&a, err);
    if (out != NULL)
        *out = a.expunged;
    free(slices);
    return status;
}

static enum gx_status change_hold(struct gx_room *room, const char *gallery, enum gx_id_kind kind,
                                  const char *const *ids, size_t n_ids, const char *reference, bool release,
                                  bool quarantine, const char *request_id, struct gx_hold_out *out, struct gx_err *err)
{
    struct gx_slice *slices = calloc(n_ids + 1, sizeof(*slices));
    struct gx_hold_out ignored;
    ck_assert_ptr_nonnull(slices);
    for (size_t i = 0; i < n_ids; i++)
        slices[i] = gx_slice_text(ids[i]);
    struct gx_hold_in in = {.gallery = gx_slice_text(gallery),
                            .kind = kind,
                            .ids = slices,
                            .n_ids = n_ids,
                            .reference = gx_slice_text(reference),
                            .quarantine = quarantine,
                            .request_id = gx_slice_text(request_id == NULL ? "" : request_id)};
    enum gx_status status =
        (release ? gx_hold_release : gx_hold_place)(room->galleries, &in, out == NULL ? &ignored : out, err);
    free(slices);
    return status;
}

enum gx_status gx_room_place(struct gx_room *room, const char *gallery, enum gx_id_kind kind, const char *const *ids,
                             size_t n_ids, const char *reference, bool quarantine, const char *request_id,
                             struct gx_hold_out *out, struct gx_err *err)
{
    return change_hold(room, gallery, kind, ids, n_ids, reference, false, quarantine, request_id, out, err);
}

enum gx_status gx_room_release(struct gx_room *room, const char *gallery, enum gx_id_kind kind, const char *const *ids,
                               size_t n_ids, const char *reference, const char *request_id, struct gx_hold_out *out,
                               struct gx_err *err)
{
    return change_hold(room, gallery, kind, ids, n_ids, reference, true, false, request_id, out, err);
}

static void backed_up(void *arg, const struct gx_backup *backup, const struct gx_err *err)
{
    struct answer *a = arg;
    if (backup != NULL)
        a->backup = *backup;
    answered(a, err);
}

enum gx_status gx_room_backup(struct gx_room *room, const char *dir, int64_t expires_in_us, struct gx_backup *out,
                              struct gx_err *err)
{
    struct answer a = ANSWER;
    const struct gx_backup_in in = {
        .directory = gx_slice_text(dir), .expires_in_us = expires_in_us, .on_done = backed_up, .arg = &a};
    gx_backup_submit(room->galleries, &in);
    enum gx_status status = await(&a, err);
    if (out != NULL)
        *out = a.backup;
    return status;
}

struct gx_search_in gx_room_defaults(uint32_t k)
{
    return (struct gx_search_in){.n_probes = 1, .k = k, .min_cosine = -1, .effort = {.effort = -1}};
}

enum gx_status gx_room_search(struct gx_room *room, const char *gallery, uint64_t row, struct gx_search_in *in,
                              struct gx_search_result **out, struct gx_err *err)
{
    float probe[GX_ROOM_DIM];
    gx_people_row(&room->people, row, probe, NULL);
    in->gallery = gx_slice_text(gallery);
    in->embedder_id = gx_slice_text("e");
    in->embedder_version = gx_slice_text("1");
    in->probes = probe;
    in->dim = GX_ROOM_DIM;
    gx_arena_reset(&room->arena);
    enum gx_status status = gx_search_run(room->galleries, in, &room->arena, out, err);
    in->probes = NULL;
    return status;
}

bool gx_room_finds(struct gx_room *room, const char *gallery, uint64_t row, uint32_t k)
{
    struct gx_search_in in = gx_room_defaults(k);
    struct gx_search_result *result;
    struct gx_err err;
    char id[GX_PEOPLE_ID_MAX];
    gx_people_record_id(row, id);
    ck_assert_msg(gx_room_search(room, gallery, row, &in, &result, &err) == GX_OK, "%s", err.text);
    for (size_t i = 0; i < result->n; i++)
        if (gx_slice_equal(result->candidates[i].record_id, gx_slice_text(id)))
            return true;
    return false;
}

bool gx_room_has_record(struct gx_room *room, const char *gallery, uint64_t row)
{
    struct gx_stored_record *records;
    struct gx_err err;
    size_t n, dim;
    char id[GX_PEOPLE_ID_MAX];
    gx_people_record_id(row, id);
    struct gx_slice slice = gx_slice_text(id);
    gx_arena_reset(&room->arena);
    ck_assert_msg(gx_lookup_get(room->galleries, gx_slice_text(gallery), &slice, 1, false, &room->arena, &records, &n,
                                &dim, &err) == GX_OK,
                  "%s", err.text);
    return n == 1;
}
