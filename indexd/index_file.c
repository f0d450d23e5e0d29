/* The path of a save: engine -> PATH.tmp -> checksum over it -> trailer -> fsync -> rename -> fsync of the directory.
 * What can go wrong: any step fails and the temporary file is removed; a crash leaves PATH.tmp, which the next start
 * deletes; a file that was cut, or is of another gallery or engine, is refused by its trailer. */
#include "index_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "codec.h"
#include "file.h"
#include "simd.h"

/* Trailer, little parts at fixed places; all numbers big-endian as in codec.h. */
#define MAGIC       "GXINDEX1"
#define TRAILER_LEN 256
enum {
    AT_MAGIC = 0,
    AT_UUID = 8,
    AT_EPOCH = 24,
    AT_LAST_RNO = 32,
    AT_ENTRIES = 40,
    AT_BODY_LEN = 48,
    AT_BODY_CRC = 56
};
enum { AT_DIM = 60, AT_ENGINE = 64, AT_TRAINED_FROM = 244, AT_TRAILER_CRC = 252 };
_Static_assert(AT_ENGINE + GX_ENGINE_MAX + 1 <= AT_TRAINED_FROM, "the engine text fits");

static enum gx_status checksum(int fd, const char *path, uint64_t len, uint32_t *out_crc, struct gx_err *err)
{
    static const size_t piece = 1u << 20;
    struct gx_arena arena;
    gx_arena_init(&arena, 2 * piece);
    enum gx_status status = GX_OK;
    uint8_t *buffer;
    uint32_t crc = 0;
    GX_TRY_OUT(gx_arena_array(&arena, piece, 1, &buffer, err));
    for (uint64_t at = 0; at < len;) {
        ssize_t n = pread(fd, buffer, GX_MIN(piece, len - at), (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            status = n < 0 ? gx_err_errno(err, errno, "read '%s'", path)
                           : gx_fail(err, GX_E_CORRUPT, "'%s' is shorter than it says", path);
            goto out;
        }
        crc = gx_simd_crc32c(crc, buffer, (size_t)n);
        at += (uint64_t)n;
    }
    *out_crc = crc;
out:
    gx_arena_fini(&arena);
    return status;
}

static void encode(uint8_t t[TRAILER_LEN], const struct gx_engine *engine, const struct gx_index_file_info *info,
                   uint64_t body_len, uint32_t body_crc)
{
    memset(t, 0, TRAILER_LEN);
    memcpy(t + AT_MAGIC, MAGIC, 8);
    memcpy(t + AT_UUID, info->gallery.bytes, GX_UUID_LEN);
    gx_codec_put_u64(t + AT_EPOCH, info->epoch);
    gx_codec_put_u64(t + AT_LAST_RNO, info->last_rno);
    gx_codec_put_u64(t + AT_ENTRIES, info->entries);
    gx_codec_put_u64(t + AT_BODY_LEN, body_len);
    gx_codec_put_u32(t + AT_BODY_CRC, body_crc);
    gx_codec_put_u32(t + AT_DIM, (uint32_t)engine->dim);
    memcpy(t + AT_ENGINE, engine->spec.text, strlen(engine->spec.text));
    gx_codec_put_u64(t + AT_TRAINED_FROM, info->trained_from);
    gx_codec_put_u32(t + AT_TRAILER_CRC, gx_simd_crc32c(0, t, AT_TRAILER_CRC));
}

static enum gx_status append_trailer(const char *path, const struct gx_engine *engine,
                                     const struct gx_index_file_info *info, struct gx_err *err)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return gx_err_errno(err, errno, "open '%s'", path);
    enum gx_status status = GX_OK;
    struct stat st;
    uint8_t trailer[TRAILER_LEN];
    uint32_t crc;
    if (fchmod(fd, 0600) != 0 || fstat(fd, &st) != 0) {
        status = gx_err_errno(err, errno, "look at '%s'", path);
        goto out;
    }
    GX_TRY_OUT(checksum(fd, path, (uint64_t)st.st_size, &crc, err));
    encode(trailer, engine, info, (uint64_t)st.st_size, crc);
    if (lseek(fd, 0, SEEK_END) < 0) {
        status = gx_err_errno(err, errno, "write '%s'", path);
        goto out;
    }
    GX_TRY_OUT(gx_file_write_all(fd, trailer, sizeof(trailer), path, err));
    if (fsync(fd) != 0)
        status = gx_err_errno(err, errno, "fsync '%s'", path);
out:
    close(fd);
    return status;
}

static void directory_of(const char *path, char *out, size_t n)
{
    const char *slash = strrchr(path, '/');
    size_t len = slash == NULL ? 0 : (size_t)(slash - path);
    snprintf(out, n, "%.*s", (int)len, path);
    if (len == 0)
        snprintf(out, n, "%s", slash == NULL ? "." : "/");
}

enum gx_status gx_index_file_write(const char *path, struct gx_engine *engine, const struct gx_index_file_info *info,
                                   struct gx_err *err)
{
    char temporary[1100], dir[1100];
    if ((size_t)snprintf(temporary, sizeof(temporary), "%s.tmp", path) >= sizeof(temporary))
        return gx_fail(err, GX_E_INVALID, "the path of the saved index is too long");
    directory_of(path, dir, sizeof(dir));
    enum gx_status status = gx_engine_save(engine, temporary, err);
    if (status == GX_OK)
        status = append_trailer(temporary, engine, info, err);
    if (status == GX_OK && rename(temporary, path) != 0)
        status = gx_err_errno(err, errno, "rename '%s'", temporary);
    if (status != GX_OK) {
        unlink(temporary);
        return status;
    }
    return gx_file_sync_dir(dir, err);
}

/* The trailer of an open file, checked against what is expected. */
static enum gx_status read_trailer(int fd, const char *path, const struct gx_engine_spec *spec, size_t dim,
                                   const struct gx_uuid *gallery, uint64_t *out_body_len, uint32_t *out_crc,
                                   struct gx_index_file_info *out, struct gx_err *err)
{
    struct stat st;
    uint8_t t[TRAILER_LEN];
    if (fstat(fd, &st) != 0)
        return gx_err_errno(err, errno, "look at '%s'", path);
    if (st.st_size < TRAILER_LEN || pread(fd, t, TRAILER_LEN, st.st_size - TRAILER_LEN) != TRAILER_LEN)
        return gx_fail(err, GX_E_CORRUPT, "'%s' is cut short", path);
    if (memcmp(t + AT_MAGIC, MAGIC, 8) != 0 ||
        gx_codec_get_u32(t + AT_TRAILER_CRC) != gx_simd_crc32c(0, t, AT_TRAILER_CRC))
        return gx_fail(err, GX_E_CORRUPT, "'%s' has no valid trailer", path);
    *out_body_len = gx_codec_get_u64(t + AT_BODY_LEN);
    *out_crc = gx_codec_get_u32(t + AT_BODY_CRC);
    if (*out_body_len != (uint64_t)st.st_size - TRAILER_LEN)
        return gx_fail(err, GX_E_CORRUPT, "'%s' is not as long as it says", path);
    out->trained_from = gx_codec_get_u64(t + AT_TRAINED_FROM);
    t[AT_TRAINED_FROM] = 0; /* ends the engine text whatever it is */
    if (memcmp(t + AT_UUID, gallery->bytes, GX_UUID_LEN) != 0 || gx_codec_get_u32(t + AT_DIM) != dim ||
        strcmp((const char *)t + AT_ENGINE, spec->text) != 0)
        return gx_fail(err, GX_E_FORMAT, "'%s' is of another gallery or engine", path);
    memcpy(out->gallery.bytes, t + AT_UUID, GX_UUID_LEN);
    out->epoch = gx_codec_get_u64(t + AT_EPOCH);
    out->last_rno = gx_codec_get_u64(t + AT_LAST_RNO);
    out->entries = gx_codec_get_u64(t + AT_ENTRIES);
    return GX_OK;
}

enum gx_status gx_index_file_read(const char *path, const struct gx_engine_spec *spec, size_t dim,
                                  const struct gx_rows *rows, size_t threads, const struct gx_uuid *gallery,
                                  struct gx_engine **out, struct gx_index_file_info *out_info, struct gx_err *err)
{
    *out = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? gx_fail(err, GX_E_NOT_FOUND, "no saved index")
                               : gx_err_errno(err, errno, "open '%s'", path);
    uint64_t body_len = 0;
    uint32_t expected = 0, crc = 0;
    enum gx_status status = read_trailer(fd, path, spec, dim, gallery, &body_len, &expected, out_info, err);
    if (status == GX_OK)
        status = checksum(fd, path, body_len, &crc, err);
    close(fd);
    GX_TRY(status);
    if (crc != expected)
        return gx_fail(err, GX_E_CORRUPT, "'%s' fails its checksum", path);
    GX_TRY(gx_engine_load(spec, dim, rows, path, threads, out, err));
    struct gx_engine_stats stats;
    gx_engine_stats(*out, &stats);
    /* An engine that knows the rows leaves out those that are gone. */
    if (stats.entries == out_info->entries || (spec->bare_file && stats.entries < out_info->entries))
        return GX_OK;
    gx_engine_unref(*out);
    *out = NULL;
    return gx_fail(err, GX_E_CORRUPT, "'%s' holds another number of entries than it says", path);
}
