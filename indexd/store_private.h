/* What the files of the store share, and nobody else includes. */
#ifndef GX_STORE_PRIVATE_H
#define GX_STORE_PRIVATE_H

#include <rocksdb/c.h>

#include "store.h"

struct gx_store_settings {
    rocksdb_cache_t *cache;         /* one for all families */
    rocksdb_ratelimiter_t *limiter; /* NULL = none */
    rocksdb_options_t *families[GX_CF_COUNT];
};

/* Makes the options of every family; @wanted NULL = all defaults; @create allows to make a new database. The database
 * keeps what it needs of them: release them once it is open. Call fini whatever the outcome. */
GX_MUST enum gx_status gx_store_options_init(struct gx_store_settings *settings, const struct gx_store_options *wanted,
                                             bool create, struct gx_err *err);
void gx_store_options_fini(struct gx_store_settings *settings);

#endif
