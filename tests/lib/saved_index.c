#include "saved_index.h"

#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec.h"
#include "indexd/limits.h"

#define HEAD_LEN        (32 + GX_ENGINE_MAX) /* before the rotation of OPQ and what FAISS writes */
#define AT_DIM          8
#define AT_PAYLOAD      24
#define TRAILER_LEN     256
#define AT_TRAINED_FROM 244 /* of the trailer */
#define BLOCK_ROWS      32

/* What is read next; numbers are FAISS's, in the byte order of the machine. */
struct cursor {
    const uint8_t *at, *end;
};

static const uint8_t *take(struct cursor *c, size_t n)
{
    ck_assert_msg(n <= (size_t)(c->end - c->at), "the saved index is shorter than it says");
    const uint8_t *at = c->at;
    c->at += n;
    return at;
}

static uint64_t take_number(struct cursor *c)
{
    uint64_t n;
    memcpy(&n, take(c, sizeof(n)), sizeof(n));
    return n;
}

static uint64_t number_at(const uint8_t *at)
{
    struct cursor c = {at, at + 8};
    return take_number(&c);
}

static void add(struct gx_saved_index *index, const uint8_t *id, uint32_t list, const uint8_t *code,
                const uint8_t *block)
{
    if (index->n % 1024 == 0) {
        index->entries = realloc(index->entries, (index->n + 1024) * sizeof(*index->entries));
        ck_assert_ptr_nonnull(index->entries);
    }
    index->entries[index->n++] = (struct gx_saved_entry){number_at(id), list, code, block};
}

/* ---------------------------------------------------------------- forms */

/* IVF: "ilar", lists, bytes of a code, "full", how long each list is; then of each its codes and its ids. */
static void read_lists(struct gx_saved_index *index, struct cursor *c)
{
    uint64_t n_lists = take_number(c);
    index->code_len = take_number(c);
    ck_assert_msg(memcmp(take(c, 4), "full", 4) == 0, "lists of another kind");
    ck_assert_uint_eq(take_number(c), n_lists);
    const uint8_t *sizes = take(c, n_lists * 8);
    for (uint32_t list = 0; list < n_lists; list++) {
        uint64_t n = number_at(sizes + list * 8);
        const uint8_t *codes = take(c, n * index->code_len), *ids = take(c, n * 8);
        for (uint64_t i = 0; i < n; i++)
            add(index, ids + i * 8, list, codes + i * index->code_len, NULL);
    }
}

/* "ilbl", lists, a number not used, rows and bytes of a block; then of each list its ids and its blocks. */
static void read_blocks(struct gx_saved_index *index, struct cursor *c)
{
    uint64_t n_lists = take_number(c);
    (void)take_number(c); /* the bytes of a code: not filled in */
    ck_assert_uint_eq(take_number(c), BLOCK_ROWS);
    index->block_len = take_number(c);
    index->code_len = index->block_len / BLOCK_ROWS;
    for (uint32_t list = 0; list < n_lists; list++) {
        uint64_t n = take_number(c);
        const uint8_t *ids = take(c, n * 8);
        uint64_t len = take_number(c);
        const uint8_t *blocks = take(c, len);
        ck_assert_uint_ge(len, (n + BLOCK_ROWS - 1) / BLOCK_ROWS * index->block_len);
        for (uint64_t i = 0; i < n; i++)
            add(index, ids + i * 8, list, NULL, blocks + i / BLOCK_ROWS * index->block_len);
    }
}

/* Flat and HNSW: at the end all codes, how many ids, all ids. */
static void read_rows(struct gx_saved_index *index, const struct cursor *payload, size_t entries, size_t code_len)
{
    const uint8_t *ids = payload->end - entries * 8, *codes = ids - 8 - entries * code_len;
    ck_assert(codes > payload->at);
    ck_assert_uint_eq(number_at(ids - 8), entries);
    uint64_t said = number_at(codes - 8); /* in bytes, or in floats */
    ck_assert_msg(said == entries * code_len || said * 4 == entries * code_len,
                  "the codes are not where they should be");
    index->code_len = code_len;
    for (size_t i = 0; i < entries; i++)
        add(index, ids + i * 8, 0, codes + i * code_len, NULL);
}

/* The last place where @mark stands. */
static const uint8_t *find_last(const struct cursor *payload, const char *mark)
{
    const uint8_t *found = NULL, *at = payload->at;
    while ((at = memmem(at, (size_t)(payload->end - at), mark, 4)) != NULL)
        found = at++;
    ck_assert_msg(found != NULL, "no %s in the saved index", mark);
    return found + 4;
}

/* The one flat index inside of an IVF, with or without a graph: "IxFI", the head that all indexes have, how many
 * floats.
 */
static void read_centroids(struct gx_saved_index *index, const struct cursor *payload, size_t dim)
{
    struct cursor c = {find_last(payload, "IxFI"), payload->end};
    (void)take(&c, 4); /* dimension */
    index->n_lists = take_number(&c);
    (void)take(&c, 2 * 8 + 1 + 4);
    uint64_t n_floats = take_number(&c);
    ck_assert_uint_eq(n_floats, index->n_lists * dim);
    index->centroids = take(&c, n_floats * sizeof(float));
}

/* ---------------------------------------------------------------- the file */

static bool find_file(struct gx_saved_index *index, const char *data)
{
    char dir[200];
    (void)snprintf(dir, sizeof(dir), "%.150s/index", data);
    DIR *stream = opendir(dir);
    if (stream == NULL)
        return false;
    int n = 0;
    for (struct dirent *e; (e = readdir(stream)) != NULL;)
        if (e->d_name[0] != '.') {
            (void)snprintf(index->path, sizeof(index->path), "%s/%.90s", dir, e->d_name);
            n++;
        }
    (void)closedir(stream);
    ck_assert_int_le(n, 1);
    return n == 1;
}

static int compare_entries(const void *a, const void *b)
{
    uint64_t p = ((const struct gx_saved_entry *)a)->rno, q = ((const struct gx_saved_entry *)b)->rno;
    return (p > q) - (p < q);
}

bool gx_saved_index_open(struct gx_saved_index *index, const char *data, const char *engine)
{
    *index = (struct gx_saved_index){.code_len = 0};
    FILE *file = find_file(index, data) ? fopen(index->path, "re") : NULL;
    if (file == NULL)
        return false;
    ck_assert_int_eq(fseek(file, 0, SEEK_END), 0);
    index->len = (size_t)ftell(file);
    rewind(file);
    index->file = malloc(index->len);
    ck_assert_ptr_nonnull(index->file);
    ck_assert_uint_eq(fread(index->file, 1, index->len, file), index->len);
    (void)fclose(file);
    ck_assert_uint_gt(index->len, HEAD_LEN + TRAILER_LEN);
    size_t dim = gx_codec_get_u32(index->file + AT_DIM), entries = gx_codec_get_u64(index->file + AT_DIM + 8);
    size_t payload_len = gx_codec_get_u64(index->file + AT_PAYLOAD);
    const uint8_t *end = index->file + index->len - TRAILER_LEN;
    struct cursor payload = {end - payload_len, end};
    ck_assert(payload.at >= index->file + HEAD_LEN);
    index->trained_from = gx_codec_get_u64(end + AT_TRAINED_FROM);
    if (strstr(engine, "IVF") != NULL)
        read_centroids(index, &payload, gx_codec_get_u32(index->file + AT_DIM + 4));
    if (strstr(engine, "x4fs") != NULL) {
        payload.at = find_last(&payload, "ilbl");
        read_blocks(index, &payload);
    } else if (strstr(engine, "IVF") != NULL) {
        payload.at = find_last(&payload, "ilar");
        read_lists(index, &payload);
    } else {
        read_rows(index, &payload, entries, strstr(engine, "SQ8") != NULL ? dim : dim * sizeof(float));
    }
    ck_assert_uint_eq(index->n, entries);
    qsort(index->entries, index->n, sizeof(*index->entries), compare_entries);
    return true;
}

const struct gx_saved_entry *gx_saved_index_find(const struct gx_saved_index *index, uint64_t rno)
{
    const struct gx_saved_entry key = {.rno = rno};
    return bsearch(&key, index->entries, index->n, sizeof(key), compare_entries);
}

void gx_saved_index_close(struct gx_saved_index *index)
{
    free(index->file);
    free(index->entries);
    *index = (struct gx_saved_index){.code_len = 0};
}
