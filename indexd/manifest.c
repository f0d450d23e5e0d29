/* The path of decode: line by line into the struct -> the struct encoded again must be the very text. So a form that
 * encode does not write, however it reads, is refused, and with the digest at its end every change of a byte. */
#include "manifest.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define FIRST_LINE "indexd backup\n"
#define LINE_MAX   512

/* --- names --- */

void gx_manifest_id(uint64_t backup, char out[GX_MANIFEST_ID_MAX])
{
    (void)snprintf(out, GX_MANIFEST_ID_MAX, "B-%08" PRIu64, backup);
}

enum gx_status gx_manifest_id_number(struct gx_slice text, uint64_t *out, struct gx_err *err)
{
    uint64_t n = 0;
    bool good = text.len >= 3 && text.len < GX_MANIFEST_ID_MAX && text.data[0] == 'B' && text.data[1] == '-';
    for (size_t i = 2; good && i < text.len; i++) {
        uint64_t digit = (uint64_t)text.data[i] - '0';
        good = digit <= 9 && n <= (UINT64_MAX - digit) / 10;
        n = n * 10 + digit;
    }
    *out = n;
    return good && n > 0 ? GX_OK : gx_fail(err, GX_E_INVALID, "backup_id: write it as B-00000003");
}

bool gx_manifest_is_path(struct gx_slice path)
{
    static const char *const top[] = {"FORMAT", "certificate.key", "certificate.pub", "expunge.log", "secret.key"};
    static const char folder[] = "store/";
    for (size_t i = 0; i < GX_COUNT_OF(top); i++)
        if (gx_slice_equal(path, gx_slice_text(top[i])))
            return true;
    size_t at = sizeof(folder) - 1;
    if (path.len <= at || path.len > 128 || memcmp(path.data, folder, at) != 0 || path.data[at] == '.')
        return false;
    for (; at < path.len; at++) {
        uint8_t c = path.data[at];
        if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '.' || c == '_' ||
              c == '-'))
            return false;
    }
    return true;
}

/* --- writing --- */

static void hex(const struct gx_digest *digest, char out[2 * GX_DIGEST_LEN + 1])
{
    for (size_t i = 0; i < GX_DIGEST_LEN; i++)
        (void)snprintf(out + 2 * i, 3, "%02x", digest->bytes[i]);
}

static size_t put_head(const struct gx_manifest *m, char *out, size_t cap)
{
    char id[GX_MANIFEST_ID_MAX], store[37];
    gx_manifest_id(m->backup, id);
    gx_keys_uuid_text(&m->store, store);
    int len = snprintf(out, cap,
                       FIRST_LINE "format %d\nid %s\nstore %s\ncreated_at_us %" PRId64 "\nexpires_at_us %" PRId64
                                  "\nepoch %" PRIu64 "\n%s\n",
                       GX_FORMAT_VERSION, id, store, m->created_at_us, m->expires_at_us, m->epoch,
                       m->complete ? "complete" : "unfinished");
    return (size_t)len;
}

enum gx_status gx_manifest_encode(const struct gx_manifest *manifest, struct gx_arena *arena, struct gx_slice *out,
                                  struct gx_err *err)
{
    char *text, digits[2 * GX_DIGEST_LEN + 1];
    size_t cap = (manifest->n_files + 2) * LINE_MAX, len;
    struct gx_digest digest;
    GX_TRY(gx_arena_array(arena, cap, 1, &text, err));
    len = put_head(manifest, text, cap);
    for (size_t i = 0; manifest->complete && i < manifest->n_files; i++) {
        const struct gx_manifest_file *f = &manifest->files[i];
        if (!gx_manifest_is_path(f->path) || (i > 0 && gx_slice_compare(f[-1].path, f->path) >= 0))
            return gx_fail(err, GX_E_INVALID, "a backup cannot hold a file of that name");
        hex(&f->digest, digits);
        len += (size_t)snprintf(text + len, cap - len, "%s %" PRIu64 " %.*s\n", digits, f->n_bytes, (int)f->path.len,
                                (const char *)f->path.data);
    }
    const struct gx_slice whole = {(const uint8_t *)text, len};
    GX_TRY(gx_keys_sha256(&whole, 1, &digest, err));
    hex(&digest, digits);
    len += (size_t)snprintf(text + len, cap - len, "end %s\n", digits);
    *out = (struct gx_slice){(const uint8_t *)text, len};
    return GX_OK;
}

/* --- reading --- */

static enum gx_status damaged(struct gx_err *err)
{
    return gx_fail(err, GX_E_CORRUPT, "it is damaged, or no manifest of a backup");
}

/* The next line, without its end; false: there is none. */
static bool take_line(struct gx_slice *rest, struct gx_slice *out)
{
    const uint8_t *end = rest->len == 0 ? NULL : memchr(rest->data, '\n', rest->len);
    if (end == NULL)
        return false;
    *out = (struct gx_slice){rest->data, (size_t)(end - rest->data)};
    rest->len -= out->len + 1;
    rest->data += out->len + 1;
    return true;
}

/* What stands behind "@name " in the next line, as text of its own. */
static bool take_value(struct gx_slice *rest, const char *name, char out[LINE_MAX])
{
    struct gx_slice line;
    size_t n = strlen(name);
    if (!take_line(rest, &line) || line.len <= n + 1 || line.len - n > LINE_MAX || memcmp(line.data, name, n) != 0 ||
        line.data[n] != ' ')
        return false;
    memcpy(out, line.data + n + 1, line.len - n - 1);
    out[line.len - n - 1] = '\0';
    return true;
}

static int nibble(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool take_hex(const char *text, uint8_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int high = nibble(text[2 * i]), low = high < 0 ? -1 : nibble(text[2 * i + 1]);
        if (low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static bool take_uuid(const char *text, struct gx_uuid *out)
{
    char digits[33] = "";
    size_t n = 0;
    for (; *text != '\0' && n < 32; text++)
        if (*text != '-')
            digits[n++] = *text;
    return n == 32 && take_hex(digits, out->bytes, GX_UUID_LEN);
}

/* "<64 digits> <size> <path>" */
static bool take_file(struct gx_slice line, struct gx_manifest_file *out)
{
    char text[LINE_MAX], *end;
    if (line.len < 2 * GX_DIGEST_LEN + 4 || line.len >= sizeof(text))
        return false;
    memcpy(text, line.data, line.len);
    text[line.len] = '\0';
    if (!take_hex(text, out->digest.bytes, GX_DIGEST_LEN) || text[2 * GX_DIGEST_LEN] != ' ')
        return false;
    out->n_bytes = strtoull(text + 2 * GX_DIGEST_LEN + 1, &end, 10);
    if (*end != ' ')
        return false;
    size_t at = (size_t)(end + 1 - text);
    out->path = (struct gx_slice){line.data + at, line.len - at};
    return gx_manifest_is_path(out->path);
}

static enum gx_status take_head(struct gx_slice *rest, struct gx_manifest *out, struct gx_err *err)
{
    char value[LINE_MAX];
    struct gx_slice line;
    if (!take_line(rest, &line) ||
        !gx_slice_equal(line, (struct gx_slice){(const uint8_t *)FIRST_LINE, sizeof(FIRST_LINE) - 2}) ||
        !take_value(rest, "format", value))
        return damaged(err);
    if (strtol(value, NULL, 10) != GX_FORMAT_VERSION)
        return gx_fail(err, GX_E_FORMAT, "it is of format %.20s, this indexd reads %d: use the one that wrote it",
                       value, GX_FORMAT_VERSION);
    if (!take_value(rest, "id", value) || gx_manifest_id_number(gx_slice_text(value), &out->backup, NULL) != GX_OK)
        return damaged(err);
    if (!take_value(rest, "store", value) || !take_uuid(value, &out->store))
        return damaged(err);
    if (!take_value(rest, "created_at_us", value))
        return damaged(err);
    out->created_at_us = strtoll(value, NULL, 10);
    if (!take_value(rest, "expires_at_us", value))
        return damaged(err);
    out->expires_at_us = strtoll(value, NULL, 10);
    if (!take_value(rest, "epoch", value))
        return damaged(err);
    out->epoch = strtoull(value, NULL, 10);
    if (!take_line(rest, &line))
        return damaged(err);
    out->complete = gx_slice_equal(line, gx_slice_text("complete"));
    return GX_OK;
}

enum gx_status gx_manifest_decode(struct gx_slice text, struct gx_arena *arena, struct gx_manifest *out,
                                  struct gx_err *err)
{
    struct gx_slice rest = text, line, again;
    struct gx_manifest_file *files;
    size_t n_lines = 0;
    *out = (struct gx_manifest){0};
    GX_TRY(take_head(&rest, out, err));
    for (size_t i = 0; i < rest.len; i++)
        n_lines += rest.data[i] == '\n';
    if (n_lines == 0 || n_lines > GX_MANIFEST_FILES_MAX)
        return damaged(err);
    GX_TRY(gx_arena_array(arena, n_lines, sizeof(*files), &files, err));
    while (out->n_files + 1 < n_lines && take_line(&rest, &line))
        if (!take_file(line, &files[out->n_files++]))
            return damaged(err);
    out->files = files;
    if ((!out->complete && out->n_files > 0) || gx_manifest_encode(out, arena, &again, NULL) != GX_OK ||
        !gx_slice_equal(again, text))
        return damaged(err);
    return GX_OK;
}
