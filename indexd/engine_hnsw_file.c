/* The path of reading: head -> rnos, found among the rows -> vertices -> links -> checksum -> codes from the float rows
 * -> vertices whose row is gone removed, as every removal.
 *
 * A row may have gone since the file was written, and slots are counted anew at every start, so vertices are numbered
 * in the file by the order of their rnos. One whose row is no more gets a slot behind all rows until it is removed:
 * what it was linked to is needed to repair the lists that it was in.
 *
 * What can go wrong: the file is damaged, or made by somebody else. Nothing read is trusted: lengths are checked
 * against the file's, numbers against the count of vertices, and a checksum guards the rest. */
#include "engine_hnsw_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "codec.h"
#include "engine_hnsw_mend.h"
#include "engine_hnsw_parallel.h"
#include "engine_hnsw_part.h"
#include "file.h"
#include "simd.h"

/* All numbers big-endian. */
#define MAGIC       "GXHNSW01"
#define AT_DIM      8
#define AT_M        12
#define AT_SEED     16
#define AT_VERTICES 24
#define AT_BODY_LEN 32
#define AT_ENTRY    40 /* number of the vertex, u32 */
#define AT_BODY_CRC 44
#define AT_HEAD_CRC 60
#define HEAD_LEN    64

#define RNO_LEN    8
#define LIST_LEN   (1 + GX_HNSW_M0 * 4) /* at most: how many, then numbers of vertices */
#define BUFFER_LEN ((size_t)1 << 20)
#define CODE_GRAIN 256

/* A file being written or read through a buffer, with the checksum of what passed. */
struct stream {
    int fd;
    const char *path;
    uint8_t *buffer; /* [BUFFER_LEN] */
    size_t at, end;
    uint64_t len; /* written, or left to read */
    uint32_t crc;
};

/* --- writing --- */

static enum gx_status flush(struct stream *out, struct gx_err *err)
{
    GX_TRY(gx_file_write_all(out->fd, out->buffer, out->at, out->path, err));
    out->crc = gx_simd_crc32c(out->crc, out->buffer, out->at);
    out->len += out->at;
    out->at = 0;
    return GX_OK;
}

/* Room for @n bytes, or NULL. */
static enum gx_status make_room(struct stream *out, size_t n, uint8_t **out_room, struct gx_err *err)
{
    if (BUFFER_LEN - out->at < n)
        GX_TRY(flush(out, err));
    *out_room = out->buffer + out->at;
    return GX_OK;
}

/* Numbers of the vertices: of 64 slots each, how many are before, and which are. */
struct ranks {
    uint64_t *bits;
    uint32_t *before;
    uint32_t n_slots, n;
};

static enum gx_status rank(const struct gx_hnsw_graph *graph, struct ranks *ranks, struct gx_err *err)
{
    ranks->n_slots = atomic_load_explicit(&graph->reserved, memory_order_relaxed);
    size_t n_words = (size_t)ranks->n_slots / 64 + 1;
    ranks->bits = calloc(n_words, sizeof(*ranks->bits));
    ranks->before = calloc(n_words, sizeof(*ranks->before));
    if (ranks->bits == NULL || ranks->before == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory to save the index");
    for (uint32_t slot = 0; slot < ranks->n_slots; slot++) {
        if (slot % 64 == 0)
            ranks->before[slot / 64] = ranks->n;
        if (gx_hnsw_levels(graph, slot) == 0)
            continue;
        ranks->bits[slot / 64] |= (uint64_t)1 << slot % 64;
        ranks->n++;
    }
    return GX_OK;
}

static bool is_ranked(const struct ranks *ranks, uint32_t slot)
{
    return (ranks->bits[slot / 64] >> slot % 64 & 1) != 0;
}

static uint32_t rank_of(const struct ranks *ranks, uint32_t slot)
{
    uint64_t below = ranks->bits[slot / 64] & (((uint64_t)1 << slot % 64) - 1);
    return ranks->before[slot / 64] + (uint32_t)__builtin_popcountll(below);
}

static enum gx_status write_list(struct stream *out, const struct gx_hnsw_graph *graph, const struct ranks *ranks,
                                 uint32_t slot, unsigned level, struct gx_err *err)
{
    uint32_t links[GX_HNSW_M0];
    uint8_t *room;
    GX_TRY(make_room(out, LIST_LEN, &room, err));
    size_t n = gx_hnsw_read_links(gx_hnsw_links(graph, slot, level), gx_hnsw_links_max(level), links);
    room[0] = (uint8_t)n;
    for (size_t i = 0; i < n; i++)
        gx_codec_put_u32(room + 1 + 4 * i, rank_of(ranks, links[i]));
    out->at += 1 + 4 * n;
    return GX_OK;
}

static enum gx_status write_body(struct stream *out, const struct gx_hnsw_graph *graph, const struct gx_rows *rows,
                                 const struct ranks *ranks, struct gx_err *err)
{
    uint8_t *room;
    for (uint32_t slot = 0; slot < ranks->n_slots; slot++) {
        if (!is_ranked(ranks, slot))
            continue;
        GX_TRY(make_room(out, RNO_LEN, &room, err));
        gx_codec_put_u64(room, gx_rows_rno(rows, slot));
        out->at += RNO_LEN;
    }
    for (uint32_t slot = 0; slot < ranks->n_slots; slot++) {
        unsigned levels = is_ranked(ranks, slot) ? gx_hnsw_levels(graph, slot) : 0;
        for (unsigned level = 0; level < levels; level++)
            GX_TRY(write_list(out, graph, ranks, slot, level, err));
    }
    return flush(out, err);
}

static enum gx_status write_head(const struct stream *out, const struct gx_hnsw_graph *graph, const struct ranks *ranks,
                                 struct gx_err *err)
{
    uint8_t head[HEAD_LEN] = {0};
    uint64_t entry = atomic_load_explicit(&graph->entry, memory_order_relaxed);
    memcpy(head, MAGIC, 8);
    gx_codec_put_u32(head + AT_DIM, (uint32_t)graph->codes->dim);
    gx_codec_put_u32(head + AT_M, GX_HNSW_M);
    gx_codec_put_u64(head + AT_SEED, graph->seed);
    gx_codec_put_u64(head + AT_VERTICES, ranks->n);
    gx_codec_put_u64(head + AT_BODY_LEN, out->len);
    gx_codec_put_u32(head + AT_ENTRY, entry == 0 ? 0 : rank_of(ranks, (uint32_t)entry));
    gx_codec_put_u32(head + AT_BODY_CRC, out->crc);
    gx_codec_put_u32(head + AT_HEAD_CRC, gx_simd_crc32c(0, head, AT_HEAD_CRC));
    if (lseek(out->fd, 0, SEEK_SET) != 0)
        return gx_err_errno(err, errno, "write '%s'", out->path);
    return gx_file_write_all(out->fd, head, HEAD_LEN, out->path, err);
}

enum gx_status gx_engine_hnsw_file_write(const struct gx_hnsw_graph *graph, const struct gx_rows *rows,
                                         const char *path, struct gx_err *err)
{
    struct ranks ranks = {0};
    struct stream out = {.path = path, .buffer = malloc(BUFFER_LEN)};
    enum gx_status status = GX_OK;
    out.fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (out.fd < 0)
        status = gx_err_errno(err, errno, "create '%s'", path);
    else if (out.buffer == NULL)
        status = gx_fail(err, GX_E_NOMEM, "no memory to save the index");
    else if (lseek(out.fd, HEAD_LEN, SEEK_SET) != HEAD_LEN)
        status = gx_err_errno(err, errno, "write '%s'", path);
    if (status == GX_OK)
        status = rank(graph, &ranks, err);
    if (status == GX_OK)
        status = write_body(&out, graph, rows, &ranks, err);
    if (status == GX_OK)
        status = write_head(&out, graph, &ranks, err);
    if (out.fd >= 0 && close(out.fd) != 0 && status == GX_OK)
        status = gx_err_errno(err, errno, "write '%s'", path);
    free(ranks.bits);
    free(ranks.before);
    free(out.buffer);
    return status;
}

/* --- reading --- */

struct reading {
    struct stream in;
    const struct gx_rows *rows;
    struct gx_hnsw_graph *graph;
    uint32_t n, entry, n_live;
    uint32_t *slots; /* [n] of the vertices */
    uint32_t *gone;  /* [n_gone] slots of those whose row is no more */
    size_t n_gone;
    uint32_t body_crc;
};

static enum gx_status cut_short(struct gx_err *err)
{
    return gx_fail(err, GX_E_CORRUPT, "the saved index is cut short: rebuild it");
}

static enum gx_status damaged(struct gx_err *err)
{
    return gx_fail(err, GX_E_CORRUPT, "the saved index is damaged: rebuild it");
}

/* The next @n bytes, at most BUFFER_LEN. */
static enum gx_status take(struct stream *in, size_t n, const uint8_t **out, struct gx_err *err)
{
    while (in->end - in->at < n) {
        memmove(in->buffer, in->buffer + in->at, in->end - in->at);
        in->end -= in->at;
        in->at = 0;
        size_t want = (size_t)GX_MIN(in->len, (uint64_t)(BUFFER_LEN - in->end));
        if (want == 0)
            return cut_short(err);
        ssize_t got = read(in->fd, in->buffer + in->end, want);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return gx_err_errno(err, errno, "read '%s'", in->path);
        if (got == 0)
            return cut_short(err);
        in->crc = gx_simd_crc32c(in->crc, in->buffer + in->end, (size_t)got);
        in->end += (size_t)got;
        in->len -= (uint64_t)got;
    }
    *out = in->buffer + in->at;
    in->at += n;
    return GX_OK;
}

static enum gx_status read_head(struct reading *r, size_t dim, struct gx_err *err)
{
    struct stat st;
    const uint8_t *head;
    if (fstat(r->in.fd, &st) != 0)
        return gx_err_errno(err, errno, "look at '%s'", r->in.path);
    r->in.len = HEAD_LEN;
    GX_TRY(take(&r->in, HEAD_LEN, &head, err));
    if (memcmp(head, MAGIC, 8) != 0 || gx_codec_get_u32(head + AT_HEAD_CRC) != gx_simd_crc32c(0, head, AT_HEAD_CRC))
        return gx_fail(err, GX_E_CORRUPT, "the saved index is not one of indexd, or damaged: rebuild it");
    if (gx_codec_get_u32(head + AT_DIM) != dim || gx_codec_get_u32(head + AT_M) != GX_HNSW_M)
        return gx_fail(err, GX_E_FORMAT, "the saved index is of another engine or dimension: rebuild it");
    uint64_t n = gx_codec_get_u64(head + AT_VERTICES);
    r->entry = gx_codec_get_u32(head + AT_ENTRY);
    r->in.len = gx_codec_get_u64(head + AT_BODY_LEN);
    r->body_crc = gx_codec_get_u32(head + AT_BODY_CRC);
    r->in.crc = 0;
    if ((uint64_t)st.st_size < HEAD_LEN || (uint64_t)st.st_size - HEAD_LEN < r->in.len)
        return cut_short(err);
    if (n > r->in.len / (RNO_LEN + 1) || n > GX_HNSW_SLOTS_MAX || (n > 0 && r->entry >= n))
        return damaged(err);
    r->n = (uint32_t)n;
    return gx_engine_hnsw_graph_new(dim, gx_codec_get_u64(head + AT_SEED), &r->graph, err);
}

/* Rnos, ascending: a slot for each, and the vertices. */
static enum gx_status read_vertices(struct reading *r, uint32_t *out_until, struct gx_err *err)
{
    uint32_t count = gx_rows_count(r->rows), until = 0;
    uint64_t last = 0;
    r->slots = malloc(((size_t)r->n + 1) * sizeof(*r->slots));
    r->gone = malloc(((size_t)r->n + 1) * sizeof(*r->gone));
    if (r->slots == NULL || r->gone == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory to load the index");
    for (uint32_t i = 0; i < r->n; i++) {
        const uint8_t *bytes;
        GX_TRY(take(&r->in, RNO_LEN, &bytes, err));
        uint64_t rno = gx_codec_get_u64(bytes);
        if (rno <= last)
            return damaged(err);
        last = rno;
        bool found = gx_rows_find(r->rows, rno, &r->slots[i]);
        if (!found)
            r->slots[i] = (uint32_t)GX_MIN((uint64_t)count + r->n_gone, (uint64_t)GX_HNSW_SLOTS_MAX);
        if (found && gx_rows_is_live(r->rows, r->slots[i]))
            r->n_live++;
        else
            r->gone[r->n_gone++] = r->slots[i];
        until = GX_MAX(until, r->slots[i] + 1);
        GX_TRY(gx_engine_hnsw_graph_reserve(r->graph, until, err));
        GX_TRY(gx_engine_hnsw_graph_make(r->graph, r->slots[i], gx_engine_hnsw_graph_height(r->graph, rno), err));
    }
    *out_until = r->n == 0 || last == UINT64_MAX ? (r->n == 0 ? 0 : count) : gx_rows_lower_bound(r->rows, last + 1);
    return GX_OK;
}

/* Every live row that was there is a vertex, or the file isn't of this gallery as it says. */
static enum gx_status check_complete(const struct reading *r, uint32_t until, struct gx_err *err)
{
    uint32_t n = 0;
    for (uint32_t slot = 0; slot < until; slot++)
        n += gx_rows_is_live(r->rows, slot);
    return n == r->n_live ? GX_OK : gx_fail(err, GX_E_CORRUPT, "the saved index lacks rows: rebuild it");
}

static enum gx_status read_list(struct reading *r, uint32_t slot, unsigned level, struct gx_err *err)
{
    const uint8_t *bytes;
    gx_hnsw_link *links = gx_hnsw_links(r->graph, slot, level);
    GX_TRY(take(&r->in, 1, &bytes, err));
    size_t n = bytes[0];
    if (n > gx_hnsw_links_max(level))
        return damaged(err);
    GX_TRY(take(&r->in, 4 * n, &bytes, err));
    for (size_t i = 0; i < n; i++) {
        uint32_t vertex = gx_codec_get_u32(bytes + 4 * i);
        if (vertex >= r->n)
            return damaged(err);
        uint32_t to = r->slots[vertex];
        if (to == slot || (level > 0 && gx_hnsw_levels(r->graph, to) <= level))
            return damaged(err);
        atomic_store_explicit(&links[i], to + 1, memory_order_relaxed);
    }
    return GX_OK;
}

static enum gx_status read_links(struct reading *r, struct gx_err *err)
{
    for (uint32_t i = 0; i < r->n; i++) {
        unsigned levels = gx_hnsw_levels(r->graph, r->slots[i]);
        for (unsigned level = 0; level < levels; level++)
            GX_TRY(read_list(r, r->slots[i], level, err));
    }
    if (r->in.len > 0 || r->in.at < r->in.end || r->in.crc != r->body_crc)
        return damaged(err);
    if (r->n > 0) {
        uint64_t entry = r->slots[r->entry];
        atomic_store_explicit(&r->graph->entry, (uint64_t)gx_hnsw_levels(r->graph, (uint32_t)entry) << 32 | entry,
                              memory_order_release);
    }
    return GX_OK;
}

static void code_share(void *arg, size_t thread, uint32_t from, uint32_t to)
{
    const struct reading *r = arg;
    (void)thread;
    for (uint32_t i = from; i < to; i++)
        if (r->slots[i] < gx_rows_count(r->rows) && gx_rows_is_live(r->rows, r->slots[i]))
            gx_codes_put(r->graph->codes, r->slots[i], gx_rows_floats(r->rows, r->slots[i]));
}

static enum gx_status read_all(struct reading *r, size_t dim, size_t threads, uint32_t *out_until, struct gx_err *err)
{
    GX_TRY(read_head(r, dim, err));
    GX_TRY(read_vertices(r, out_until, err));
    GX_TRY(check_complete(r, *out_until, err));
    GX_TRY(read_links(r, err));
    gx_engine_hnsw_parallel(code_share, r, gx_engine_hnsw_parallel_threads(threads, r->n, CODE_GRAIN), r->n,
                            CODE_GRAIN);
    GX_TRY(gx_engine_hnsw_mend_remove(r->graph, r->gone, &r->n_gone, threads, err));
    for (size_t i = 0; i < r->n_gone; i++)
        gx_engine_hnsw_graph_drop(r->graph, r->gone[i]);
    uint64_t found, left;
    if (r->n_gone > 0)
        GX_TRY(gx_engine_hnsw_mend_unreachable(r->graph, true, &found, &left, err));
    gx_engine_hnsw_graph_count_bytes(r->graph);
    gx_engine_hnsw_part_measure(r->graph, true);
    return GX_OK;
}

enum gx_status gx_engine_hnsw_file_read(const char *path, size_t dim, const struct gx_rows *rows, size_t threads,
                                        struct gx_hnsw_graph **out, uint32_t *out_until, struct gx_err *err)
{
    struct reading r = {.rows = rows, .in = {.path = path}};
    *out = NULL;
    *out_until = 0;
    r.in.fd = open(path, O_RDONLY | O_CLOEXEC);
    if (r.in.fd < 0)
        return gx_err_errno(err, errno, "open '%s'", path);
    r.in.buffer = malloc(BUFFER_LEN);
    enum gx_status status = r.in.buffer == NULL ? gx_fail(err, GX_E_NOMEM, "no memory to load the index")
                                                : read_all(&r, dim, threads, out_until, err);
    close(r.in.fd);
    free(r.in.buffer);
    free(r.slots);
    free(r.gone);
    if (status == GX_OK)
        *out = r.graph;
    else
        gx_engine_hnsw_graph_free(r.graph);
    return status;
}
