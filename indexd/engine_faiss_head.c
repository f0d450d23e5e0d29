#include "engine_faiss_head.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* magic 8, dim u32, index_dim u32, entries u64, payload_len u64, engine text padded with zeros; big-endian, as every
 * number of ours. The rotation follows as FAISS's part does: float32 in the byte order of the machine. */
#define MAGIC      "GXFAISS1"
#define AT_DIM     8
#define AT_INDEX   12
#define AT_ENTRIES 16
#define AT_PAYLOAD 24
#define AT_TEXT    32
#define HEAD_LEN   (AT_TEXT + GX_ENGINE_MAX)

static size_t rotation_floats(const struct gx_faiss_form *form)
{
    return form->opq_m == 0 ? 0 : (size_t)form->dim * form->index_dim;
}

enum gx_status gx_engine_faiss_head_create(const char *path, FILE **out, struct gx_err *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    *out = fd < 0 ? NULL : fdopen(fd, "wb");
    if (*out != NULL)
        return GX_OK;
    enum gx_status status = gx_err_errno(err, errno, "create '%s'", path);
    if (fd >= 0)
        close(fd);
    return status;
}

enum gx_status gx_engine_faiss_head_write(FILE *file, const struct gx_faiss_head *head, const float *rotation,
                                          struct gx_err *err)
{
    uint8_t bytes[HEAD_LEN] = {0};
    memcpy(bytes, MAGIC, sizeof(MAGIC) - 1);
    gx_codec_put_u32(bytes + AT_DIM, head->form->dim);
    gx_codec_put_u32(bytes + AT_INDEX, head->form->index_dim);
    gx_codec_put_u64(bytes + AT_ENTRIES, head->entries);
    gx_codec_put_u64(bytes + AT_PAYLOAD, head->payload_len);
    memcpy(bytes + AT_TEXT, head->text, strlen(head->text));
    size_t n = rotation == NULL ? 0 : rotation_floats(head->form);
    if (fseek(file, 0, SEEK_SET) != 0 || fwrite(bytes, HEAD_LEN, 1, file) != 1 ||
        (n > 0 && fwrite(rotation, sizeof(float), n, file) != n))
        return gx_err_errno(err, errno, "write the index");
    return GX_OK;
}

static enum gx_status check_head(const uint8_t bytes[HEAD_LEN], uint64_t file_len, struct gx_faiss_head *head,
                                 struct gx_err *err)
{
    if (memcmp(bytes, MAGIC, sizeof(MAGIC) - 1) != 0)
        return gx_fail(err, GX_E_CORRUPT, "the saved index is not one of indexd: rebuild it");
    char text[GX_ENGINE_MAX + 1] = {0};
    memcpy(text, bytes + AT_TEXT, GX_ENGINE_MAX);
    if (strcmp(text, head->text) != 0 || gx_codec_get_u32(bytes + AT_DIM) != head->form->dim ||
        gx_codec_get_u32(bytes + AT_INDEX) != head->form->index_dim)
        return gx_fail(err, GX_E_FORMAT, "the saved index is of another engine or dimension: rebuild it");
    head->entries = gx_codec_get_u64(bytes + AT_ENTRIES);
    head->payload_len = gx_codec_get_u64(bytes + AT_PAYLOAD);
    uint64_t before = HEAD_LEN + rotation_floats(head->form) * sizeof(float);
    if (file_len < before || file_len - before < head->payload_len || head->payload_len == 0)
        return gx_fail(err, GX_E_CORRUPT, "the saved index is cut short: rebuild it");
    return GX_OK;
}

enum gx_status gx_engine_faiss_head_read(FILE *file, struct gx_faiss_head *head, float **out_rotation,
                                         struct gx_err *err)
{
    uint8_t bytes[HEAD_LEN];
    struct stat st;
    *out_rotation = NULL;
    if (fstat(fileno(file), &st) != 0)
        return gx_err_errno(err, errno, "look at the saved index");
    if (fread(bytes, HEAD_LEN, 1, file) != 1)
        return ferror(file) ? gx_err_errno(err, errno, "read the saved index")
                            : gx_fail(err, GX_E_CORRUPT, "the saved index is cut short: rebuild it");
    GX_TRY(check_head(bytes, (uint64_t)st.st_size, head, err));
    size_t n = rotation_floats(head->form);
    if (n == 0)
        return GX_OK;
    float *rotation = malloc(n * sizeof(float));
    if (rotation == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory for a rotation");
    if (fread(rotation, sizeof(float), n, file) != n) {
        free(rotation);
        return gx_err_errno(err, errno, "read the saved index");
    }
    *out_rotation = rotation;
    return GX_OK;
}
