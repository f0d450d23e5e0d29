/* The path: one pass over the int8 codes for up to 8 probes, in parts that idle cores share. Each member of the crew
 * keeps, per probe, the n_wanted best lower bounds that it saw (a pile) and every row whose upper bound reaches the
 * pile's bar (the field). At the end the piles are merged: their least is a score that n_wanted rows certainly reach,
 * and a row of the field whose upper bound is below it is certainly not among the best.
 *
 * Why nothing is lost on the way: a bar is at every moment reached by n_wanted lower bounds, and the final one is at
 * least as high as each of them. Rows are scored in float afterwards, by the caller, where equal scores have an order.
 *
 * What can go wrong: a field outgrows its memory (many rows nearly alike): it is thinned by the present bar, then
 * doubled; past its limit the search ends with GX_E_TOO_LARGE and the caller scans the float rows. */
#include "engine_exact.h"

#include <math.h>
#include <stdlib.h>

#include "crew.h"
#include "engine_blocks.h"
#include "pile.h"

#define GROUP_PROBES 8
#define PART_SLOTS   4096u /* of the pass, looked at by one member of the crew */
#define FIELD_MIN    1024
#define FIELD_MAX    ((size_t)1 << 22) /* rows of one probe and member: 32 MiB */

/* Rows that may be among the best of one probe. */
struct field {
    uint64_t *keys; /* upper bound and slot, as in a pile; malloc'ed */
    size_t n, cap;
    struct gx_pile lower;
};

struct pass {
    const struct gx_codes *codes;
    const struct gx_rows *rows;
    const struct gx_engine_ask *ask;
    const struct gx_codes_probe *probes;
    size_t n_probes;
    struct field *fields; /* [member][n_probes] */
    uint32_t until;
};

static void thin(struct field *f)
{
    gx_pile_settle(&f->lower);
    uint64_t bar = gx_pile_key(f->lower.bar, UINT32_MAX); /* the least key of that score */
    size_t n = 0;
    for (size_t i = 0; i < f->n; i++)
        if (f->keys[i] >= bar)
            f->keys[n++] = f->keys[i];
    f->n = n;
}

static bool grow(struct field *f)
{
    thin(f);
    if (f->n <= f->cap / 2)
        return true;
    size_t cap = 2 * f->cap;
    uint64_t *keys = cap <= FIELD_MAX ? realloc(f->keys, cap * sizeof(*keys)) : NULL;
    if (keys == NULL)
        return false;
    f->keys = keys;
    f->cap = cap;
    return true;
}

/* Approximate scores of up to 64 slots from @first on; those in @word may be good enough. */
static bool offer(const struct pass *p, const struct gx_codes_probe *probe, struct field *f, const float *scores,
                  uint32_t first, uint64_t word)
{
    for (; word != 0; word &= word - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(word), slot = first + i;
        float bound = gx_codes_bound(p->codes, probe, slot);
        if (scores[i] + bound < f->lower.bar ||
            (p->ask->pass != NULL && !p->ask->pass(p->ask->pass_arg, p->rows, slot)))
            continue;
        if (f->n == f->cap && !grow(f))
            return false;
        f->keys[f->n++] = gx_pile_key(scores[i] + bound, slot);
        if (scores[i] - bound >= f->lower.bar)
            gx_pile_offer(&f->lower, scores[i] - bound, slot);
    }
    return true;
}

/* A gx_engine_block. */
static bool look_at(void *arg, size_t member, uint32_t first, uint64_t word, size_t n)
{
    const struct pass *p = arg;
    float scores[GROUP_PROBES][64], errors[64], *out[GROUP_PROBES];
    for (size_t i = 0; i < GROUP_PROBES; i++)
        out[i] = scores[i];
    gx_codes_score_int8(p->codes, p->probes, p->n_probes, first, n, out);
    gx_codes_errors(p->codes, first, n, errors);
    for (size_t i = 0; i < p->n_probes; i++) {
        struct field *f = &p->fields[member * p->n_probes + i];
        uint64_t may = word & gx_codes_reach(&p->probes[i], scores[i], errors, n, f->lower.bar);
        if (!offer(p, &p->probes[i], f, scores[i], first, may))
            return false;
    }
    return true;
}

static void free_fields(struct field *fields, size_t n)
{
    for (size_t i = 0; fields != NULL && i < n; i++) {
        free(fields[i].keys);
        free(fields[i].lower.keys);
    }
    free(fields);
}

/* malloc'ed, not in the arena: a long batch uses the room of its groups one after the other. */
static struct field *new_fields(size_t n, size_t n_wanted)
{
    struct field *fields = calloc(n, sizeof(*fields));
    for (size_t i = 0; fields != NULL && i < n; i++) {
        struct field *f = &fields[i];
        f->cap = GX_MAX(2 * n_wanted, (size_t)FIELD_MIN);
        f->keys = malloc(f->cap * sizeof(*f->keys));
        gx_pile_init(&f->lower, malloc((2 * n_wanted + GX_PILE_SPARE) * sizeof(uint64_t)), n_wanted);
        if (f->keys == NULL || f->lower.keys == NULL) {
            free_fields(fields, n);
            return NULL;
        }
    }
    return fields;
}

/* The fields of all members for one probe, thinned by the common bar, as hits. */
static enum gx_status collect(struct field *fields, size_t members, size_t step, struct gx_arena *arena,
                              struct gx_engine_answer *answer, struct gx_err *err)
{
    size_t n = 0;
    for (size_t m = 1; m < members; m++)
        gx_pile_merge(&fields[0].lower, &fields[m * step].lower);
    gx_pile_settle(&fields[0].lower);
    for (size_t m = 0; m < members; m++) {
        fields[m * step].lower.bar = fields[0].lower.bar;
        fields[m * step].lower.n = 0; /* settled already */
        thin(&fields[m * step]);
        n += fields[m * step].n;
    }
    GX_TRY(gx_arena_array(arena, n, sizeof(*answer->hits), &answer->hits, err));
    for (size_t m = 0; m < members; m++)
        for (size_t i = 0; i < fields[m * step].n; i++)
            answer->hits[answer->n++] = (struct gx_engine_hit){.slot = gx_pile_slot(fields[m * step].keys[i]),
                                                               .approx_score = gx_pile_score(fields[m * step].keys[i])};
    answer->complete = true;
    answer->effort = 1;
    return GX_OK;
}

static enum gx_status search_group(struct pass *p, struct gx_arena *arena, struct gx_engine_answer *answers,
                                   struct gx_err *err)
{
    size_t members = gx_crew_members(), n_wanted = GX_MAX(GX_MIN(p->ask->n_wanted, (size_t)p->until), (size_t)1);
    size_t n_fields = members * p->n_probes;
    enum gx_status status;
    uint64_t scanned;
    p->fields = new_fields(n_fields, n_wanted);
    if (p->fields == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory for the candidates");
    status = gx_engine_blocks_run(p->rows, p->until, PART_SLOTS, p->ask, look_at, p, &scanned, err);
    for (size_t i = 0; i < p->n_probes && status == GX_OK; i++) {
        answers[i].scanned = scanned;
        status = collect(&p->fields[i], members, p->n_probes, arena, &answers[i], err);
    }
    free_fields(p->fields, n_fields);
    return status;
}

enum gx_status gx_engine_exact_search(const struct gx_codes *codes, const struct gx_rows *rows, uint32_t until,
                                      const struct gx_engine_ask *ask, struct gx_arena *arena,
                                      struct gx_engine_answer *answers, struct gx_err *err)
{
    struct gx_codes_probe probes[GROUP_PROBES];
    for (size_t at = 0; at < ask->n_probes; at += GROUP_PROBES) {
        struct pass p = {.codes = codes,
                         .rows = rows,
                         .ask = ask,
                         .probes = probes,
                         .n_probes = GX_MIN(ask->n_probes - at, (size_t)GROUP_PROBES),
                         .until = GX_MIN(ask->until, until)};
        for (size_t i = 0; i < p.n_probes; i++)
            GX_TRY(gx_codes_probe(codes, ask->probes[at + i], arena, &probes[i], err));
        GX_TRY(search_group(&p, arena, answers + at, err));
    }
    return GX_OK;
}
