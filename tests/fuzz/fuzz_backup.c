/* Any bytes as the manifest of a backup, as its entry in the register, and as a request about backups: refused, or read
 * as what encoding gives again. The first byte chooses. */
#include <stdlib.h>

#include "manifest.h"
#include "wire.h"

#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            abort();                                                                                                   \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_manifest(struct gx_slice text, struct gx_arena *arena)
{
    struct gx_manifest m;
    struct gx_slice again;
    if (gx_manifest_decode(text, arena, &m, NULL) != GX_OK)
        return;
    REQUIRE(m.backup > 0 && (m.complete || m.n_files == 0));
    for (size_t i = 0; i < m.n_files; i++)
        REQUIRE(gx_manifest_is_path(m.files[i].path));
    REQUIRE(gx_manifest_encode(&m, arena, &again, NULL) == GX_OK && gx_slice_equal(again, text));
}

/* The digest at the end is what fuzzing cannot find: it is put there. */
static void read_signed(struct gx_slice text, struct gx_arena *arena)
{
    static const char digits[] = "0123456789abcdef";
    struct gx_digest digest;
    uint8_t *bytes = gx_arena_alloc(arena, text.len + 69);
    if (bytes == NULL || gx_keys_sha256(&text, 1, &digest, NULL) != GX_OK)
        return;
    memcpy(bytes, text.data, text.len);
    uint8_t *p = bytes + text.len;
    memcpy(p, "end ", 4);
    p += 4;
    for (size_t i = 0; i < GX_DIGEST_LEN; i++) {
        *p++ = (uint8_t)digits[digest.bytes[i] >> 4];
        *p++ = (uint8_t)digits[digest.bytes[i] & 15];
    }
    *p++ = '\n';
    read_manifest((struct gx_slice){bytes, text.len + 69}, arena);
}

static void read_entry(struct gx_slice value)
{
    struct gx_backup b;
    uint8_t key[GX_KEY_BACKUP_LEN], again[GX_BACKUP_VALUE_MAX];
    gx_codec_key_backup(7, key);
    if (gx_codec_backup_decode((struct gx_slice){key, sizeof(key)}, value, &b, NULL) != GX_OK)
        return;
    size_t len = gx_codec_backup_encode(&b, again);
    REQUIRE(gx_slice_equal(value, (struct gx_slice){again, len}));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gx_arena arena;
    struct gx_backup_in in;
    struct gx_err err = {0};
    uint64_t number;
    bool flag;
    if (size == 0)
        return 0;
    struct gx_slice m = {data + 1, size - 1};
    gx_arena_init(&arena, (size_t)256 << 20);
    switch (data[0] % 6) {
    case 0: read_manifest(m, &arena); break;
    case 1: read_signed(m, &arena); break;
    case 2: read_entry(m); break;
    case 3:
        if (gx_wire_backups_decode_create(m, &arena, &in, &err) == GX_OK)
            REQUIRE(in.directory.len >= 1 && in.directory.len <= GX_BACKUP_DIR_MAX && in.expires_in_us >= 0);
        else
            REQUIRE(err.text[0] != '\0');
        break;
    case 4:
        if (gx_wire_backups_decode_delete(m, &arena, &number, &flag, &err) == GX_OK)
            REQUIRE(number > 0);
        break;
    default: (void)!gx_wire_backups_decode_list(m, &arena, &flag, &err); break;
    }
    gx_arena_fini(&arena);
    return 0;
}
