/* `scan`: the signs of every row, the first of its two bits a value, are compared with the probe; the best survive to
 * be compared by both bits; the best of those by their int8 codes; the best of those are proposed. Nothing is trained,
 * nothing decays, a removed row is a bit that is off.
 *
 * The path of a search: probes in groups of 8 -> one pass over the signs, in parts that idle cores share, a pile per
 * probe and member of the crew -> piles merged -> 2 bits -> int8 -> n_wanted hits. Filters are asked only about rows
 * whose score is good enough: a row that does not pass costs what any other does, and takes no place.
 *
 * What can go wrong: no memory for codes: the rows are not taken up, and stay with the exact scan of the tail. */
#include <math.h>
#include <stdlib.h>

#include "codes.h"
#include "crew.h"
#include "engine_blocks.h"
#include "engine_exact.h"
#include "pile.h"

#define GROUP_PROBES  8
#define PART_SLOTS    32768u /* of the pass, looked at by one member of the crew */
#define PART_PUTS     64     /* rows encoded at a time */
#define SURVIVORS_MIN 128    /* of the 2-bit pass, at effort 0 */
/* Survivors of the signs: this / dim * sqrt(rows * survivors of 2 bits). What signs say is off by 1 / sqrt(dim), and
 * the more rows there are, the further the best of them stand out. At 512 values and 200,000 rows that is 1.8 %. Never
 * fewer than SIGNS_MIN, which cost little. */
#define SIGNS_SHARE    180.0
#define SIGNS_MIN      2048.0
#define EFFORT_DOUBLES 4                  /* at effort 1 there are 2^4 times as many */
#define PILES_BYTES    ((size_t)16 << 20) /* of one search; of one probe for many of millions of rows, twice that */

struct scan_engine {
    struct gx_engine base;
    struct gx_codes *codes;
    atomic_uint_least32_t until; /* slots below were taken up, if they were alive */
    atomic_uint_least64_t entries;
};

static struct scan_engine *of(struct gx_engine *engine)
{
    return (struct scan_engine *)(void *)engine;
}

/* --- rows --- */

/* Rows being encoded. */
struct fresh {
    struct scan_engine *engine;
    const uint32_t *slots;
    const float *rows;
    size_t n;
};

static void put_part(void *arg, size_t member, size_t part)
{
    const struct fresh *f = arg;
    (void)member;
    for (size_t i = part * PART_PUTS; i < GX_MIN((part + 1) * PART_PUTS, f->n); i++)
        gx_codes_put(f->engine->codes, f->slots[i], f->rows + i * f->engine->base.dim);
}

static enum gx_status scan_add(struct gx_engine *engine, const uint64_t *rnos, const float *rows, size_t n,
                               struct gx_err *err)
{
    struct scan_engine *s = of(engine);
    uint32_t *slots = malloc(n * sizeof(*slots));
    enum gx_status status = slots == NULL ? gx_fail(err, GX_E_NOMEM, "no memory to add rows") : GX_OK;
    for (size_t i = 0; i < n && status == GX_OK; i++)
        if (!gx_rows_find(engine->rows, rnos[i], &slots[i]))
            status = gx_fail(err, GX_E_INTERNAL, "a row that the gallery does not know");
    if (status == GX_OK)
        status = gx_codes_reserve(s->codes, slots[n - 1] + 1, err); /* rows come in order */
    if (status == GX_OK) {
        struct fresh fresh = {s, slots, rows, n};
        gx_crew_run(put_part, &fresh, (n + PART_PUTS - 1) / PART_PUTS);
        atomic_fetch_add(&s->entries, n);
        atomic_store(&s->until, slots[n - 1] + 1);
    }
    free(slots);
    return status;
}

/* Its live bit is off already: nothing proposes it any more. */
static enum gx_status scan_remove(struct gx_engine *engine, const uint64_t *rnos, size_t n, size_t *out_removed,
                                  struct gx_err *err)
{
    struct scan_engine *s = of(engine);
    (void)err;
    for (size_t i = 0; i < n; i++) {
        uint32_t slot;
        if (gx_rows_find(engine->rows, rnos[i], &slot) && slot < atomic_load(&s->until) &&
            gx_codes_scale(s->codes, slot) > 0)
            ++*out_removed;
    }
    atomic_fetch_sub(&s->entries, *out_removed);
    return GX_OK;
}

static void scan_wipe(struct gx_engine *engine, const uint64_t *rnos, size_t n)
{
    struct scan_engine *s = of(engine);
    for (size_t i = 0; i < n; i++) {
        uint32_t slot;
        if (gx_rows_find(engine->rows, rnos[i], &slot) && slot < atomic_load(&s->until))
            gx_codes_wipe(s->codes, slot);
    }
}

/* --- search --- */

/* One pass over the signs for a group of probes. */
struct pass {
    const struct scan_engine *engine;
    const struct gx_engine_ask *ask;
    const struct gx_codes_probe *probes;
    size_t n_probes;
    struct gx_pile *piles; /* [member][n_probes] */
};

/* What the signs of up to 64 slots from @first on say; those in @word count. */
static void offer(const struct pass *p, struct gx_pile *pile, const uint16_t *sums, uint32_t first, uint64_t word)
{
    for (; word != 0; word &= word - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(word);
        if ((float)sums[i] >= pile->bar &&
            (p->ask->pass == NULL || p->ask->pass(p->ask->pass_arg, p->engine->base.rows, first + i)))
            gx_pile_offer(pile, (float)sums[i], first + i);
    }
}

/* A gx_engine_block. */
static bool look_at(void *arg, size_t member, uint32_t first, uint64_t word, size_t n)
{
    const struct pass *p = arg;
    uint16_t sums[64];
    (void)n;
    for (size_t i = 0; i < p->n_probes; i++) {
        struct gx_pile *pile = &p->piles[member * p->n_probes + i];
        uint16_t bar = (uint16_t)GX_MAX(pile->bar, 0.0f);
        offer(p, pile, sums, first, word & gx_codes_scan_signs(p->engine->codes, &p->probes[i], first, bar, sums));
    }
    return true;
}

/* What the groups of one search work in, one after the other. */
struct room {
    size_t group;            /* probes at once */
    size_t members;          /* of the crew */
    size_t by_signs, wanted; /* survivors of a probe: of its signs, and of 2 bits */
    struct gx_pile *piles;   /* [members][group] */
    struct gx_pile close, best;
    uint64_t *keys; /* of all piles */
};

static size_t n_keys(size_t wanted)
{
    return 2 * wanted + GX_PILE_SPARE;
}

static enum gx_status set_up(const struct gx_engine_ask *ask, double dim, float effort, uint32_t until,
                             struct gx_arena *arena, struct room *out, struct gx_err *err)
{
    double survivors = (double)GX_MAX(ask->n_wanted, (size_t)SURVIVORS_MIN) * exp2(EFFORT_DOUBLES * (double)effort);
    double rows = (double)GX_MAX(until, 1u), by_signs = SIGNS_SHARE / dim * sqrt(rows * survivors);
    out->wanted = (size_t)GX_MIN(survivors, rows);
    out->members = gx_crew_members();
    double room = (double)(2 * PILES_BYTES / (out->members * 2 * sizeof(uint64_t)));
    out->by_signs = (size_t)GX_MIN(GX_MAX(GX_MIN(GX_MAX(by_signs, SIGNS_MIN), room), survivors), rows);
    size_t per_probe = out->members * n_keys(out->by_signs) * sizeof(uint64_t);
    out->group = GX_MAX(GX_MIN(GX_MIN(ask->n_probes, (size_t)GROUP_PROBES), PILES_BYTES / per_probe), (size_t)1);
    size_t n_piles = out->members * out->group;
    GX_TRY(gx_arena_array(arena, n_piles, sizeof(*out->piles), &out->piles, err));
    out->keys = gx_arena_alloc(arena, (n_piles * n_keys(out->by_signs) + 2 * n_keys(out->wanted)) * sizeof(*out->keys));
    if (out->keys == NULL)
        return gx_fail(err, GX_E_TOO_LARGE, "no memory for the candidates: ask for fewer at a time");
    return GX_OK;
}

static void empty_piles(struct room *b)
{
    for (size_t i = 0; i < b->members * b->group; i++)
        gx_pile_init(&b->piles[i], b->keys + i * n_keys(b->by_signs), b->by_signs);
}

#define PIECE 256 /* of survivors, compared at a time */

/* The best of @from, scored by their signs, by both bits. */
static void compare_2bit(const struct scan_engine *s, const struct gx_codes_probe *probe, struct gx_pile *from,
                         struct gx_pile *into)
{
    uint32_t slots[PIECE];
    uint16_t sums[PIECE];
    float scores[PIECE];
    gx_pile_settle(from);
    for (size_t at = 0, n; at < from->n; at += n) {
        n = GX_MIN(from->n - at, (size_t)PIECE);
        for (size_t i = 0; i < n; i++) {
            slots[i] = gx_pile_slot(from->keys[at + i]);
            sums[i] = (uint16_t)gx_pile_score(from->keys[at + i]);
        }
        gx_codes_rescore_2bit(s->codes, probe, slots, sums, n, scores);
        for (size_t i = 0; i < n; i++)
            gx_pile_offer(into, scores[i], slots[i]);
    }
}

static void compare_int8(const struct scan_engine *s, const struct gx_codes_probe *probe, struct gx_pile *from,
                         struct gx_pile *into)
{
    uint32_t slots[PIECE];
    float scores[PIECE];
    gx_pile_settle(from);
    for (size_t at = 0, n; at < from->n; at += n) {
        n = GX_MIN(from->n - at, (size_t)PIECE);
        for (size_t i = 0; i < n; i++)
            slots[i] = gx_pile_slot(from->keys[at + i]);
        gx_codes_rescore_int8(s->codes, probe, slots, n, scores);
        for (size_t i = 0; i < n; i++)
            gx_pile_offer(into, scores[i], slots[i]);
    }
}

/* What the signs of one probe have left: the best by both bits, and of those by int8, become hits. */
static enum gx_status refine(const struct scan_engine *s, const struct gx_codes_probe *probe, struct room *b,
                             struct gx_pile *pile, size_t n_wanted, struct gx_arena *arena,
                             struct gx_engine_answer *answer, struct gx_err *err)
{
    struct gx_pile *close = &b->close, *best = &b->best;
    uint64_t *keys = b->keys + b->members * b->group * n_keys(b->by_signs);
    gx_pile_init(close, keys, b->wanted);
    gx_pile_init(best, keys + n_keys(b->wanted), GX_MIN(n_wanted, b->wanted));
    compare_2bit(s, probe, pile, close);
    compare_int8(s, probe, close, best);
    answer->n = gx_pile_sort(best);
    answer->complete = answer->n < n_wanted;
    GX_TRY(gx_arena_array(arena, answer->n, sizeof(*answer->hits), &answer->hits, err));
    for (size_t i = 0; i < answer->n; i++)
        answer->hits[i] =
            (struct gx_engine_hit){.slot = gx_pile_slot(best->keys[i]), .approx_score = gx_pile_score(best->keys[i])};
    return GX_OK;
}

static enum gx_status search_group(struct scan_engine *s, const struct gx_engine_ask *ask, size_t at, struct room *b,
                                   struct gx_arena *arena, struct gx_engine_answer *answers, struct gx_err *err)
{
    struct gx_codes_probe probes[GROUP_PROBES];
    struct pass p = {
        .engine = s, .ask = ask, .probes = probes, .n_probes = GX_MIN(ask->n_probes - at, b->group), .piles = b->piles};
    uint32_t until = GX_MIN(ask->until, atomic_load(&s->until));
    uint64_t scanned;
    for (size_t i = 0; i < p.n_probes; i++)
        GX_TRY(gx_codes_probe(s->codes, ask->probes[at + i], arena, &probes[i], err));
    empty_piles(b);
    GX_TRY(gx_engine_blocks_run(s->base.rows, until, PART_SLOTS, ask, look_at, &p, &scanned, err));
    for (size_t i = 0; i < p.n_probes; i++) {
        for (size_t m = 1; m < b->members; m++)
            gx_pile_merge(&b->piles[i], &b->piles[m * p.n_probes + i]);
        answers[at + i].scanned = scanned;
        GX_TRY(refine(s, &probes[i], b, &b->piles[i], ask->n_wanted, arena, &answers[at + i], err));
    }
    return GX_OK;
}

static enum gx_status scan_search(struct gx_engine *engine, const struct gx_engine_ask *ask, struct gx_arena *arena,
                                  struct gx_engine_answer *answers, struct gx_err *err)
{
    struct scan_engine *s = of(engine);
    struct room b;
    float effort;
    uint32_t no_ef;
    if (ask->certified)
        return gx_engine_exact_search(s->codes, engine->rows, atomic_load(&s->until), ask, arena, answers, err);
    GX_TRY(gx_engine_native_effort(&ask->effort, false, &effort, &no_ef, err));
    if (ask->n_wanted == 0) /* of a gallery whose rows are all gone */
        return GX_OK;
    GX_TRY(set_up(ask, (double)engine->dim, effort, GX_MIN(ask->until, atomic_load(&s->until)), arena, &b, err));
    for (size_t at = 0; at < ask->n_probes; at += b.group)
        GX_TRY(search_group(s, ask, at, &b, arena, answers, err));
    for (size_t i = 0; i < ask->n_probes; i++)
        answers[i].effort = effort;
    return GX_OK;
}

/* --- birth and death --- */

static void scan_stats(const struct gx_engine *engine, struct gx_engine_stats *out)
{
    const struct scan_engine *s = (const struct scan_engine *)(const void *)engine;
    out->entries = atomic_load(&s->entries);
    out->index_bytes = gx_codes_bytes(s->codes);
}

static void scan_free(struct gx_engine *engine)
{
    gx_codes_free(of(engine)->codes);
    free(engine);
}

static const struct gx_engine_ops scan_ops = {.add = scan_add,
                                              .remove = scan_remove,
                                              .wipe = scan_wipe,
                                              .search = scan_search,
                                              .stats = scan_stats,
                                              .free = scan_free};

enum gx_status gx_engine_scan_new(const struct gx_engine_spec *spec, size_t dim, const struct gx_rows *rows,
                                  struct gx_engine **out, struct gx_err *err)
{
    (void)rows; /* gx_engine_new notes them */
    struct scan_engine *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory for an engine");
    s->base = (struct gx_engine){.ops = &scan_ops, .spec = *spec, .dim = dim};
    enum gx_status status = gx_codes_new(dim, GX_CODES_INT8 | GX_CODES_2BIT, &s->codes, err);
    if (status == GX_OK)
        *out = &s->base;
    else
        free(s);
    return status;
}
