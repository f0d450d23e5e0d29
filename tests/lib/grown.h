/* A gallery's rows and hnsw engines over them, which grow and shrink as a test wants. Asserts with Check. */
#ifndef GX_GROWN_H
#define GX_GROWN_H

#include "engine.h"
#include "people.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define GX_GROWN_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define GX_GROWN_SANITIZED 1
#endif
#endif

/* Rows of a test, @n a multiple of 400: under a sanitizer, which takes ten times as long, a quarter. */
#ifdef GX_GROWN_SANITIZED
#define GX_GROWN_ROWS(n) ((n) / 4)
#else
#define GX_GROWN_ROWS(n) (n)
#endif

#define GX_GROWN_SEED 20261
#define GX_GROWN_K    10 /* of recall */

struct gx_grown {
    struct gx_people people;
    size_t dim;
    uint32_t n; /* rows there may be: those of the people; row i has rno 2 * i + 1 and, all published, slot i */
    float *floats;
    struct gx_rows *rows;
};

/* @n rows of people, the first @n_published of them published. */
void gx_grown_begin(struct gx_grown *g, size_t dim, uint32_t n, uint32_t n_published);
void gx_grown_end(struct gx_grown *g);

static inline uint64_t gx_grown_rno(uint32_t i)
{
    return 2 * (uint64_t)i + 1;
}
void gx_grown_publish(struct gx_grown *g, uint32_t until);
/* The same people in other rows: all but those hidden, so that slots are others; as after a restart. */
void gx_grown_restart(struct gx_grown *g);

struct gx_engine_spec gx_grown_spec(void);
/* Empty, and with the live rows of [from, until), in batches. */
struct gx_engine *gx_grown_new(const struct gx_grown *g, size_t threads);
void gx_grown_add(const struct gx_grown *g, struct gx_engine *engine, uint32_t from, uint32_t until);
struct gx_engine *gx_grown_built(const struct gx_grown *g, size_t threads);

/* Hides the rows of which @share of 100 are @chosen (by a hash, other ones for another @salt) among [from, until). With
 * @engine, removes and wipes them there, @piece at a time. How many. */
uint32_t gx_grown_remove(struct gx_grown *g, struct gx_engine *engine, uint32_t from, uint32_t until, unsigned share,
                         unsigned salt, size_t piece);

struct gx_grown_answer {
    struct gx_engine_hit hits[1024];
    size_t n;
    uint64_t scanned;
    float effort;
};
enum gx_status gx_grown_ask(const struct gx_grown *g, struct gx_engine *engine, struct gx_engine_ask *ask,
                            struct gx_grown_answer *out, struct gx_err *err);
/* The @n_wanted that are near @probe, by ef. */
void gx_grown_search(const struct gx_grown *g, struct gx_engine *engine, const float *probe, size_t n_wanted,
                     uint32_t ef, struct gx_grown_answer *out);
bool gx_grown_holds(const struct gx_grown_answer *answer, uint32_t slot);

/* How many of the exactly nearest GX_GROWN_K are among twice as many proposed, and how many those are: both are added
 * to. And what share it is for new photos. */
void gx_grown_count_found(const struct gx_grown *g, struct gx_engine *engine, const float *probe, uint32_t ef,
                          size_t *n_true, size_t *n_found);
double gx_grown_recall(const struct gx_grown *g, struct gx_engine *engine, uint32_t ef, size_t n_probes);
/* Live rows of [0, until) that do not find themselves first, of each @step th one. */
uint32_t gx_grown_lost(const struct gx_grown *g, struct gx_engine *engine, uint32_t ef, uint32_t step);
uint64_t gx_grown_unreachable(const struct gx_engine *engine);

#endif
