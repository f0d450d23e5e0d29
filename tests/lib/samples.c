#include "samples.h"

#define T(text) gx_slice_text(text)

struct gx_record gx_samples_record(void)
{
    return (struct gx_record){.record_id = T("photo-1"),
                              .subject_id = T("p7"),
                              .arrest_id = T("A-77"),
                              .captured_at_us = 1700000000000000,
                              .enrolled_at_us = 1700000001000000,
                              .epoch = 258,
                              .attributes = {{T("sex"), T("f")}, {T("site"), T("")}},
                              .n_attributes = 2};
}

struct gx_gallery_meta gx_samples_gallery(void)
{
    struct gx_gallery_meta meta = {.number = 3,
                                   .name = "mug",
                                   .embedder_id = "edgeface-xs",
                                   .embedder_version = "",
                                   .engine = "auto",
                                   .dim = 512,
                                   .default_effort = 0.5f,
                                   .created_at_us = 1,
                                   .state = GX_GALLERY_ACTIVE};
    for (size_t i = 0; i < GX_UUID_LEN; i++)
        meta.uuid.bytes[i] = (uint8_t)i;
    return meta;
}

static const uint64_t sample_rnos[] = {1, 2, 130, 70000, UINT64_MAX};

struct gx_ticket gx_samples_ticket(void)
{
    return (struct gx_ticket){.number = 42,
                              .state = GX_TICKET_ACCEPTED,
                              .kind = GX_ID_ARREST,
                              .gallery_number = 3,
                              .gallery = T("mug"),
                              .order_ref = T("order 9"),
                              .problem = T(""),
                              .n_records = 5,
                              .n_unmatched = 1,
                              .epoch = 77,
                              .method = GX_TICKET_BYTES,
                              .accepted_at_us = 10,
                              .unindexed_at_us = 20,
                              .flushed_at_us = 30,
                              .compacted_at_us = 40,
                              .unlinked_at_us = 50,
                              .erased_at_us = 60,
                              .verified_at_us = 70,
                              .failed_at_us = 15,
                              .attempts = 2,
                              .files_rewritten = 3,
                              .bytes_rewritten = 4,
                              .files_removed = 5,
                              .files_scanned = 6,
                              .bytes_scanned = 7,
                              .files_left_out = 8,
                              .control_hits = 9,
                              .certificate = 11,
                              .rnos = sample_rnos};
}
