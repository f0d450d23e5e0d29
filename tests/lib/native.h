/* Rows of generated people in memory, native engines over them, and the exact answer to hold theirs against. Asserts
 * with Check. */
#ifndef GX_NATIVE_H
#define GX_NATIVE_H

#include "engine.h"
#include "people.h"

#define GX_NATIVE_K_MAX 200

struct gx_native {
    struct gx_people people;
    struct gx_rows *rows; /* person row i has rno 10 + 3 i */
    size_t dim;
    uint64_t n; /* rows appended */
    struct gx_arena arena;
};

void gx_native_begin(struct gx_native *native, uint64_t seed, size_t dim, uint64_t n_max);
void gx_native_end(struct gx_native *native);

/* Appends the people's next @n rows. */
void gx_native_append(struct gx_native *native, uint64_t n);
uint64_t gx_native_rno(uint64_t row);

struct gx_engine *gx_native_engine(struct gx_native *native, const char *text);
/* Adds the live ones of rows [from, until), a thousand at a time. */
void gx_native_add(struct gx_native *native, struct gx_engine *engine, uint64_t from, uint64_t until);
/* Hides @row, lets the engine forget and wipe it. */
void gx_native_remove(struct gx_native *native, struct gx_engine *engine, const uint64_t *rows, size_t n);

/* The embedding of the people's probe @probe. */
void gx_native_probe(const struct gx_native *native, uint64_t probe, float *out);

/* What the engine proposes, in the arena until the next call; asserts success. */
void gx_native_ask(struct gx_native *native, struct gx_engine *engine, const struct gx_engine_ask *ask,
                   struct gx_engine_answer *answers);
/* The slots of the @k best visible rows that pass (NULL: all) by exact score, best first; returns how many. */
size_t gx_native_truth(const struct gx_native *native, const float *probe, size_t k, gx_rows_pass *pass, void *arg,
                       uint32_t *out_slots);
/* The share of the exact @k best that are among the engine's proposals, over probes [0, n_probes). */
double gx_native_recall(struct gx_native *native, struct gx_engine *engine, size_t k, float effort, size_t n_probes);

#endif
