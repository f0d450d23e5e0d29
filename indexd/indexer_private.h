/* What the files of the indexer share. */
#ifndef GX_INDEXER_PRIVATE_H
#define GX_INDEXER_PRIVATE_H

#include "gallery_private.h"

#define GX_INDEXER_BATCH 1024 /* rows copied and added at once, at most */

struct gx_indexer {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake, loaded;
    bool stopping, woken, all_loaded;
    struct gx_err load_error; /* the first */
    float *floats;            /* [GX_INDEXER_BATCH][GX_DIM_MAX], reused */
    uint64_t rnos[GX_INDEXER_BATCH];
};

/* Copies up to @max live rows from slot *io_slot on, and moves it past them. */
size_t gx_indexer_copy_rows(struct gx_indexer *indexer, struct gx_gallery *gallery, uint32_t count, size_t max,
                            uint32_t *io_slot);

/* Builds @spec, puts it in the place of the index in use, stores @text as the gallery's engine; reports how it went. */
void gx_indexer_build(struct gx_galleries *galleries, struct gx_gallery *gallery, const char *text,
                      const struct gx_engine_spec *spec, const char *why);

#endif
