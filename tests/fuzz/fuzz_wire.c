/* Any bytes as any request: decoded or refused with a line of text, in bounded memory, and what is decoded keeps the
 * promises of wire.h. The first byte chooses the message. */
#include <math.h>
#include <stdlib.h>

#include "wire.h"

#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            abort();                                                                                                   \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_row(const float *row, size_t dim)
{
    REQUIRE(dim >= 1 && dim <= GX_DIM_MAX);
    for (size_t i = 0; i < dim; i++)
        REQUIRE(isfinite(row[i]));
}

static void check_search(const struct gx_search_in *in)
{
    REQUIRE(in->k >= 1 && in->k <= GX_K_MAX && in->min_cosine >= -1 && in->min_cosine <= 1);
    REQUIRE(in->n_probes >= 1 && in->n_probes * in->k <= GX_BATCH_RESULTS_MAX);
    REQUIRE(gx_codec_check_name(in->gallery, NULL) == GX_OK && in->embedder_id.len >= 1);
    for (size_t i = 0; i < in->n_probes; i++)
        check_row(in->probes + i * in->dim, in->dim);
    for (size_t i = 0; i < in->filter.n_subjects; i++)
        REQUIRE(gx_codec_check_text(in->filter.subjects[i], 1, GX_ID_MAX, "", NULL) == GX_OK);
}

static void check_insert(const struct gx_enrol_in *in)
{
    REQUIRE(in->n >= 1 && in->n <= GX_INSERT_MAX && in->request_id.len <= GX_REQUEST_ID_MAX);
    for (size_t i = 0; i < in->n; i++) {
        check_row(in->records[i].row, in->records[i].dim);
        REQUIRE(gx_codec_check_text(in->records[i].record.record_id, 1, GX_ID_MAX, "", NULL) == GX_OK);
        REQUIRE(in->records[i].record.n_attributes <= GX_ATTRIBUTES_MAX && in->records[i].embedder_id.len >= 1);
    }
}

static void check_expunge(const struct gx_expunge_in *in)
{
    REQUIRE(in->n_ids >= 1 && in->n_ids <= GX_EXPUNGE_IDS_MAX && in->expected_count >= -1);
    REQUIRE(in->kind >= GX_ID_RECORD && in->kind <= GX_ID_SUBJECT && in->order_ref.len >= 1);
    for (size_t i = 0; i < in->n_ids; i++)
        REQUIRE(gx_codec_check_text(in->ids[i], 1, GX_ID_MAX, "", NULL) == GX_OK);
}

/* A request for a certificate is one for a ticket, but that no ticket will do. */
static enum gx_status decode_ticket(struct gx_slice m, struct gx_arena *arena, struct gx_err *err)
{
    uint64_t number, certificate;
    enum gx_status status = gx_wire_expunge_decode_certificate(m, arena, &certificate, err);
    bool key_only = status == GX_OK && certificate == 0;
    enum gx_status as_ticket = gx_wire_expunge_decode_ticket(m, arena, &number, err);
    REQUIRE(key_only ? as_ticket == GX_E_INVALID : as_ticket == status && (status != GX_OK || number == certificate));
    return as_ticket;
}

static void check_hold(const struct gx_hold_in *in, bool place)
{
    REQUIRE(in->n_ids >= place && in->n_ids <= GX_HOLD_IDS_MAX && in->reference.len >= 1);
    REQUIRE(in->kind == GX_ID_RECORD || in->kind == GX_ID_ARREST);
    for (size_t i = 0; i < in->n_ids; i++)
        REQUIRE(gx_codec_check_text(in->ids[i], 1, GX_ID_MAX, "", NULL) == GX_OK);
}

static enum gx_status decode(uint8_t which, struct gx_slice m, struct gx_arena *arena, struct gx_err *err)
{
    union {
        struct gx_search_in search;
        struct gx_enrol_in insert;
        struct gx_expunge_in expunge;
        struct gx_hold_in hold;
        struct gx_hold_list_in holds;
        struct gx_wire_get_in get;
        struct gx_wire_list_in list;
        struct gx_wire_tickets_in tickets;
        struct gx_create_in create;
        struct gx_remove_in delete;
        struct gx_wire_build_in build;
        struct gx_recall_in measure;
        struct gx_absent_in absent;
        struct gx_slice name;
    } in;
    bool readable;
    uint64_t tag;
    enum gx_status status;
    switch (which % 18) {
    case 0: status = gx_wire_search_decode(m, arena, &in.search, err); break;
    case 1: status = gx_wire_search_decode_batch(m, arena, &in.search, err); break;
    case 2: status = gx_wire_search_decode_stream(m, arena, &tag, &readable, &in.search, err); break;
    case 3: status = gx_wire_records_decode_insert(m, (struct gx_slice){NULL, 0}, arena, &in.insert, err); break;
    case 4: status = gx_wire_records_decode_insert(m, gx_slice_text("g"), arena, &in.insert, err); break;
    case 5: status = gx_wire_expunge_decode(m, arena, &in.expunge, err); break;
    case 6: return gx_wire_records_decode_get(m, arena, &in.get, err);
    case 7: return gx_wire_records_decode_list(m, arena, &in.list, err);
    case 8: return gx_wire_expunge_decode_tickets(m, arena, &in.tickets, err);
    case 9: return gx_wire_galleries_decode_create(m, arena, &in.create, err);
    case 10: return gx_wire_galleries_decode_delete(m, arena, &in.delete, err);
    case 11: return gx_wire_galleries_decode_build(m, arena, &in.build, err);
    case 12: return gx_wire_galleries_decode_measure(m, arena, &in.measure, err);
    case 13: return decode_ticket(m, arena, err);
    case 14: status = gx_wire_holds_decode_place(m, arena, &in.hold, err); break;
    case 15: status = gx_wire_holds_decode_release(m, arena, &in.hold, err); break;
    case 16: return gx_wire_holds_decode_list(m, arena, &in.holds, err);
    default: return gx_wire_absent_decode(m, arena, &in.absent, err);
    }
    if (status != GX_OK)
        return status;
    if (which % 18 < 3)
        check_search(&in.search);
    else if (which % 18 < 5)
        check_insert(&in.insert);
    else if (which % 18 == 5)
        check_expunge(&in.expunge);
    else
        check_hold(&in.hold, which % 18 == 14);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    size_t len = size - 1;
    uint8_t *exact = malloc(len); /* its own piece, so that reading one byte too many is seen */
    REQUIRE(exact != NULL || len == 0);
    if (len > 0)
        memcpy(exact, data + 1, len);
    struct gx_arena arena;
    struct gx_err err = {0};
    gx_arena_init(&arena, 64u << 20);
    enum gx_status status = decode(data[0], (struct gx_slice){exact, len}, &arena, &err);
    if (status != GX_OK)
        REQUIRE(err.status == status && err.text[0] != 0 && strchr(err.text, '\n') == NULL);
    gx_arena_fini(&arena);
    free(exact);
    return 0;
}
