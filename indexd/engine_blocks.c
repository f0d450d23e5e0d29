#include "engine_blocks.h"

#include "crew.h"

struct look {
    const struct gx_rows *rows;
    const struct gx_engine_ask *ask;
    gx_engine_block *block;
    void *arg;
    uint32_t until, part_slots;
    atomic_uint_least64_t seen;
    atomic_bool stopped, failed;
};

static void look_at_part(void *arg, size_t member, size_t part)
{
    struct look *look = arg;
    uint32_t from = (uint32_t)part * look->part_slots, until = GX_MIN(look->until - from, look->part_slots) + from,
             first;
    uint64_t word, n_seen = 0;
    if (atomic_load(&look->stopped) || atomic_load(&look->failed))
        return;
    while (gx_rows_next_visible(look->rows, from, until, &first, &word)) {
        n_seen += (uint64_t)__builtin_popcountll(word);
        if (!look->block(look->arg, member, first, word, 64 - (size_t)__builtin_clzll(word))) {
            atomic_store(&look->failed, true);
            break;
        }
        if (until - first <= 64) /* before the addition could overflow */
            break;
        from = first + 64;
    }
    atomic_fetch_add(&look->seen, n_seen);
    if (look->ask->stop != NULL && look->ask->stop(look->ask->stop_arg))
        atomic_store(&look->stopped, true);
}

enum gx_status gx_engine_blocks_run(const struct gx_rows *rows, uint32_t until, uint32_t part_slots,
                                    const struct gx_engine_ask *ask, gx_engine_block *block, void *arg,
                                    uint64_t *out_seen, struct gx_err *err)
{
    struct look look = {.rows = rows, .ask = ask, .block = block, .arg = arg, .until = until, .part_slots = part_slots};
    gx_crew_run(look_at_part, &look, ((size_t)until + part_slots - 1) / part_slots);
    *out_seen = atomic_load(&look.seen);
    if (atomic_load(&look.stopped))
        return gx_fail(err, GX_E_CANCELLED, "the search was given up by its caller");
    if (atomic_load(&look.failed))
        return gx_fail(err, GX_E_TOO_LARGE, "too many rows are alike to tell which are the best by their codes");
    return GX_OK;
}
