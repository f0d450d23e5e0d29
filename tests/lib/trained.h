/* FAISS engines of every family, trained and filled once with the same rows. A test that changes one works on a copy
 * that went through a file. Asserts with Check. */
#ifndef GX_TRAINED_H
#define GX_TRAINED_H

#include "engine.h"

#define GX_TRAINED_SEED   20252
#define GX_TRAINED_DIM    32
#define GX_TRAINED_ROWS   2000
#define GX_TRAINED_WANTED 100
#define GX_TRAINED_FORMS  14

struct gx_trained {
    struct {
        const char *text;
        double off; /* how far the scores of any row may be off */
        struct gx_engine *engine;
    } forms[GX_TRAINED_FORMS];
    float rows[GX_TRAINED_ROWS][GX_TRAINED_DIM]; /* of unit length; each person has a few */
    uint64_t rnos[GX_TRAINED_ROWS];
    char path[64]; /* for a file; nothing is there */
};
extern struct gx_trained gx_trained;

/* A checked or unchecked fixture. */
void gx_trained_begin(void);
void gx_trained_end(void);

/* Empty and untrained; and with everything in it. */
struct gx_engine *gx_trained_new(const char *form);
struct gx_engine *gx_trained_copy(struct gx_engine *engine);

/* The row of that number; GX_TRAINED_ROWS = none of ours. */
size_t gx_trained_row(uint64_t rno);
/* A row like no other, of unit length. */
void gx_trained_fresh(float out[GX_TRAINED_DIM]);

struct gx_trained_answer {
    struct gx_engine_hit hits[GX_TRAINED_WANTED];
    size_t n;
    uint64_t scanned;
    float effort;
};
/* One probe; @out_hits has room for @n_wanted, or for as many rows as there are. */
GX_MUST enum gx_status gx_trained_search(struct gx_engine *engine, const float *probe,
                                         const struct gx_engine_effort *effort, size_t n_wanted,
                                         struct gx_engine_hit *out_hits, size_t *out_n, uint64_t *out_scanned,
                                         float *out_effort, struct gx_err *err_out);
void gx_trained_ask(struct gx_engine *engine, const float *probe, float effort, struct gx_trained_answer *out);
bool gx_trained_same(const struct gx_trained_answer *a, const struct gx_trained_answer *b);
bool gx_trained_holds(const struct gx_trained_answer *answer, uint64_t rno);

#endif
