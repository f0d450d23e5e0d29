/* Any bytes as any value of the store, or as an entry of the ledger: refused as damaged, or decoded to something that
 * encodes to the same bytes. The first byte chooses which. */
#include <stdlib.h>

#include "codec.h"
#include "ledger_private.h"
#include "simd.h"

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

/* Checksums, length and digest are not found by chance: they are put in. */
static void check_ledger_entry(struct gx_slice value, struct gx_arena *arena)
{
    static const struct gx_digest before;
    unsigned unknown;
    uint8_t head[GX_LEDGER_HEAD_LEN] = {0};
    if (value.len > 0)
        memcpy(head, value.data, GX_MIN(value.len, sizeof(head)));
    memcpy(head, "GXEN", 4);
    gx_codec_put_u32(head + 4, gx_simd_crc32c(0, head + 8, sizeof(head) - 8));
    uint64_t len = gx_ledger_entry_len(head, &unknown);
    REQUIRE(len == 0 || unknown == 0);
    if (len == 0 || len > value.len + GX_LEDGER_TAIL_LEN)
        return;
    uint8_t *bytes = gx_arena_alloc(arena, len), *kept = gx_arena_alloc(arena, len),
            *again = gx_arena_alloc(arena, len);
    REQUIRE(bytes != NULL && kept != NULL && again != NULL);
    memcpy(bytes, value.data, len - GX_LEDGER_TAIL_LEN);
    memcpy(bytes, head, sizeof(head));
    struct gx_digest digest, same;
    const struct gx_slice pieces[2] = {{before.bytes, sizeof(before)}, {bytes, len - GX_LEDGER_TAIL_LEN}};
    REQUIRE(gx_keys_sha256(pieces, 2, &digest, NULL) == GX_OK);
    memcpy(bytes + len - GX_LEDGER_TAIL_LEN, &digest, sizeof(digest));
    gx_codec_put_u32(bytes + len - 4, gx_simd_crc32c(0, bytes, len - 4));
    memcpy(kept, bytes, len);
    struct gx_ledger_entry entry;
    enum gx_ledger_finding finding;
    uint64_t told;
    REQUIRE(gx_ledger_entry_decode(bytes, len, &before, &entry, &finding, NULL) == GX_OK && finding == GX_LEDGER_WHOLE);
    REQUIRE(gx_ledger_entry_check(&entry, &told, NULL) == GX_OK && told == len);
    REQUIRE(gx_ledger_entry_encode(&entry, &before, again, len, &same, NULL) == GX_OK);
    REQUIRE(memcmp(again, kept, len) == 0 && memcmp(&same, &digest, sizeof(same)) == 0);
    kept[value.data[0] % len] ^= 1;
    if (gx_ledger_entry_len(kept, &unknown) == len)
        REQUIRE(gx_ledger_entry_decode(kept, len, &before, &entry, &finding, NULL) == GX_OK &&
                finding != GX_LEDGER_WHOLE);
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
    switch (data[0] % 6) {
    case 0: check_record(value, &arena); break;
    case 1: check_gallery(value, &arena); break;
    case 2: check_ticket(value, &arena); break;
    case 3: check_request(value); break;
    case 4: check_emb(value, &arena); break;
    default: check_ledger_entry(value, &arena); break;
    }
    gx_arena_fini(&arena);
    free(exact);
    return 0;
}
