/* Any bytes as any value of the store: refused as damaged, or decoded to something that encodes to the same bytes.
 * The first byte chooses the value. */
#include <stdlib.h>

#include "codec.h"

#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            abort();                                                                                                   \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_record(struct gx_slice value, struct gx_arena *arena)
{
    struct gx_record record;
    struct gx_slice again;
    if (gx_codec_record_decode(value, &record, NULL) != GX_OK)
        return;
    REQUIRE(gx_codec_record_encode(&record, arena, &again, NULL) == GX_OK && gx_slice_equal(value, again));
}

static void check_gallery(struct gx_slice value, struct gx_arena *arena)
{
    struct gx_gallery_meta meta;
    struct gx_slice again;
    if (gx_codec_gallery_decode(value, &meta, NULL) != GX_OK)
        return;
    REQUIRE(gx_codec_gallery_encode(&meta, arena, &again, NULL) == GX_OK && gx_slice_equal(value, again));
}

static void check_ticket(struct gx_slice value, struct gx_arena *arena)
{
    struct gx_ticket ticket;
    struct gx_slice again;
    if (gx_codec_ticket_decode(value, arena, &ticket, NULL) != GX_OK)
        return;
    REQUIRE(gx_codec_ticket_encode(&ticket, arena, &again, NULL) == GX_OK && gx_slice_equal(value, again));
}

static void check_request(struct gx_slice value)
{
    struct gx_request_memory memory;
    uint8_t again[GX_REQUEST_MEMORY_LEN];
    if (gx_codec_request_decode(value, &memory, NULL) != GX_OK)
        return;
    gx_codec_request_encode(&memory, again);
    REQUIRE(gx_slice_equal(value, (struct gx_slice){again, sizeof(again)}));
}

/* A crc is not found by chance: the row is taken from the input, encoded, and must come back; then it is damaged. */
static void check_emb(struct gx_slice value, struct gx_arena *arena)
{
    size_t dim = value.len / sizeof(float);
    float *row = gx_arena_calloc(arena, dim, sizeof(float)), *back = gx_arena_calloc(arena, dim, sizeof(float));
    uint8_t *encoded = gx_arena_alloc(arena, gx_codec_emb_len(dim));
    REQUIRE(row != NULL && back != NULL && encoded != NULL);
    if (dim == 0)
        return;
    memcpy(row, value.data, dim * sizeof(float));
    gx_codec_emb_encode(row, dim, encoded);
    struct gx_slice whole = {encoded, gx_codec_emb_len(dim)};
    REQUIRE(gx_codec_emb_decode(whole, dim, back, NULL) == GX_OK && memcmp(row, back, dim * sizeof(float)) == 0);
    encoded[value.data[0] % whole.len] ^= 1;
    REQUIRE(gx_codec_emb_decode(whole, dim, back, NULL) == GX_E_CORRUPT);
    (void)!gx_codec_emb_decode(value, dim, back, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    uint8_t *exact = malloc(size - 1); /* its own piece, so that reading one byte too many is seen */
    REQUIRE(exact != NULL || size == 1);
    if (size > 1)
        memcpy(exact, data + 1, size - 1);
    struct gx_slice value = {exact, size - 1};
    struct gx_arena arena;
    gx_arena_init(&arena, 64u << 20);
    switch (data[0] % 5) {
    case 0: check_record(value, &arena); break;
    case 1: check_gallery(value, &arena); break;
    case 2: check_ticket(value, &arena); break;
    case 3: check_request(value); break;
    default: check_emb(value, &arena); break;
    }
    gx_arena_fini(&arena);
    free(exact);
    return 0;
}
