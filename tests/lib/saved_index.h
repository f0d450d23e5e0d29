/* What a saved FAISS index holds of each row: found by the layout of the file alone, without FAISS. Asserts with Check.
 *
 * The layout is that of FAISS 1.7.3's writer for the forms that the server knows. In the "x4fs" forms the
 * codes of 32 rows lie in one block, mixed by half bytes: of these the block is given. */
#ifndef GX_SAVED_INDEX_H
#define GX_SAVED_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gx_saved_entry {
    uint64_t rno;
    uint32_t list;        /* of IVF; else 0 */
    const uint8_t *code;  /* [code_len]; NULL: x4fs */
    const uint8_t *block; /* [block_len], of x4fs; else NULL */
};

struct gx_saved_index {
    char path[300];
    uint8_t *file;
    size_t len, code_len, block_len;
    const uint8_t *centroids; /* [n_lists][dimension in the index], floats, not aligned; NULL: not IVF */
    size_t n_lists;
    uint64_t trained_from;          /* rows, as its trailer says */
    struct gx_saved_entry *entries; /* [n], by rno */
    size_t n;
};

/* The one saved index below @data; false: there is none. */
bool gx_saved_index_open(struct gx_saved_index *index, const char *data, const char *engine);
/* NULL: it holds no such row. */
const struct gx_saved_entry *gx_saved_index_find(const struct gx_saved_index *index, uint64_t rno);
void gx_saved_index_close(struct gx_saved_index *index);

#endif
