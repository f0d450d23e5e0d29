/* What the parts of the race share. A race: engines of indexd and of others in one process, on the same rows, with the
 * same probes, one after the other in turns.
 *
 * Whatever fails ends the program (gx_measure_die). Slot i of the rows is row i of the people and has the number i + 1;
 * the labels that engines of others know are slots. */
#ifndef GX_RACE_H
#define GX_RACE_H

#include <jansson.h>
#include <stdatomic.h>

#include "arena.h"
#include "measure.h"
#include "rows.h"

#define GX_RACE_K         50 /* candidates of every search */
#define GX_RACE_BATCH     8  /* probes of a batch */
#define GX_RACE_CUTS      3  /* recall and mate hits are counted among the first 1, 10 and 50 */
#define GX_RACE_SWEEP_MAX 32
#define GX_RACE_DEFAULT   (-1.0) /* the effort of those who ask for none */

extern const size_t gx_race_cuts[GX_RACE_CUTS];

/* Asked for on the command line; constant once the race is on. */
struct gx_race {
    struct gx_measure measure;
    size_t n_probes, n_exhaustive_probes, n_change_probes, n_inserts;
    unsigned threads, passes;
    double efs[GX_RACE_SWEEP_MAX], efforts[GX_RACE_SWEEP_MAX];
    size_t n_efs, n_efforts;
    const char *work; /* where the truth is kept; NULL = nowhere */
    bool keep_peers;  /* indexes of others are kept there, too, and read from there */
    bool searches, scales, helps, inserts, removes, churns;
};

/* --- race_field.c: rows, probes, and what is true of them --- */

struct gx_race_field {
    const struct gx_race *race;
    struct gx_rows *rows;
    uint32_t n_rows;         /* appended */
    bool pristine;           /* the first rows of the people, all alive */
    float *probes;           /* [race->n_probes][dim] */
    uint64_t *probe_persons; /* [race->n_probes] */
    bool *mated;             /* [n_true]: the person of the probe has a live row */
    size_t n_mated;
    struct gx_hit *truth; /* [n_true][GX_RACE_K]: the best rows by exact score, best first */
    size_t n_true;        /* probes that the truth is known of */
};

/* The race's rows and probes. gx_race_field_free wipes. */
struct gx_race_field *gx_race_field_new(const struct gx_race *race);
void gx_race_field_free(struct gx_race_field *field);
/* Appends the rows of the people that come next. The truth is not known any more. */
void gx_race_field_grow(struct gx_race_field *field, uint32_t n);
/* The row is dead; its floats stay. The truth is not known any more. */
void gx_race_field_hide(struct gx_race_field *field, uint32_t slot);
/* Finds the truth for the first @n_probes by scoring every live row in float64; reads it from race->work, or keeps it
 * there, when the field is pristine. */
void gx_race_field_know(struct gx_race_field *field, size_t n_probes);

/* How good an answer is: shares among the first 1, 10 and 50. */
struct gx_race_score {
    double recall[GX_RACE_CUTS], mate_hit[GX_RACE_CUTS]; /* mate_hit: 0 for a probe without a mate */
};
/* @slots[n] is what was found for probe @probe, best first. A row counts whose exact score reaches that of the last of
 * the true ones, each row once. */
struct gx_race_score gx_race_field_judge(const struct gx_race_field *field, size_t probe, const uint32_t *slots,
                                         size_t n);

/* Calls @work(arg, 0..n_threads-1), each in a thread of its own, and waits for all. */
void gx_race_parallel(const struct gx_race *race, unsigned n_threads, void (*work)(void *arg, unsigned number),
                      void *arg);

/* --- those who take part --- */

enum gx_race_knob { GX_RACE_NO_KNOB, GX_RACE_EF, GX_RACE_EFFORT };

struct gx_racer;

struct gx_racer_kind {
    const char *name, *parameters;
    enum gx_race_knob knob;
    bool native;     /* ours */
    bool exhaustive; /* looks at every row: few probes are enough */
    bool batches;    /* is measured with batches, too */
    void (*open)(struct gx_racer *racer, uint32_t capacity);
    void (*add)(struct gx_racer *racer, const uint32_t *slots, size_t n); /* with all threads */
    void (*insert)(struct gx_racer *racer, uint32_t slot);                /* one row; NULL = is not measured */
    void (*remove)(struct gx_racer *racer, const uint32_t *slots, size_t n);
    void (*tune)(struct gx_racer *racer, double effort); /* NULL without a knob; nobody searches */
    /* The best GX_RACE_K of each probe into @out_slots[n_probes][GX_RACE_K], UINT32_MAX where there are fewer. Any
     * number of threads at once, each with an arena of its own. Returns how many rows were compared, 0 = unknown. */
    uint64_t (*search)(struct gx_racer *racer, const float *const *probes, size_t n_probes, struct gx_arena *arena,
                       uint32_t *out_slots);
    uint64_t (*bytes)(const struct gx_racer *racer); /* by its own account; NULL = has none */
    void (*close)(struct gx_racer *racer);
    /* NULL = cannot. restore takes the place of open and add; false: there is no such file. */
    void (*keep)(const struct gx_racer *racer, const char *path);
    bool (*restore)(struct gx_racer *racer, uint32_t capacity, const char *path);
};

struct gx_racer {
    const struct gx_racer_kind *kind;
    const struct gx_race_field *field;
    void *state; /* of the kind */
};

extern const struct gx_racer_kind gx_racer_hnsw, gx_racer_scan, gx_racer_exact;               /* race_native.c */
extern const struct gx_racer_kind gx_racer_hnswlib, gx_racer_faiss_hnsw, gx_racer_faiss_flat; /* race_peers.c */

/* An index of all live rows of the field; reports "race_build" (without costs when it was kept by an earlier race). */
struct gx_racer *gx_racer_build(const struct gx_racer_kind *kind, const struct gx_race_field *field);
/* The same in silence. */
struct gx_racer *gx_racer_build_quietly(const struct gx_racer_kind *kind, const struct gx_race_field *field);
void gx_racer_free(struct gx_racer *racer); /* NULL is fine */
/* The thread that calls searches or builds: one core for each, whatever a library would like. */
void gx_racer_thread_begin(void);

/* --- race_search.c: one racer, one effort --- */

/* Searches at one effort, in batches of one size. */
struct gx_race_point {
    struct gx_racer *racer;
    double effort;
    size_t batch, n_probes;
    struct gx_race_score mean;    /* over the probes; mate hits over the mated ones */
    double mated_recall_at_1;     /* of the mated probes only */
    struct gx_race_score *scores; /* [n_probes] */
    struct gx_measure_series cpu, wall;
    uint64_t scanned;  /* rows compared in the last pass, by its own account; 0 = unknown */
    double p50_cpu_us; /* per probe, of the pass that other load on the machine disturbed least */
};

/* Searches for the first @n_probes once and adds to the series of @point; the first time it is judged, too. */
void gx_race_search(struct gx_race_point *point, size_t n_probes);
/* Reports as @what what was found out so far; @more (taken, may be NULL) goes into the line. */
void gx_race_point_report(struct gx_race_point *point, const char *what, json_t *more);
void gx_race_point_free(struct gx_race_point *point);

/* --- the events --- */

struct gx_race_points {
    struct gx_race_point *points;
    size_t n;
};

/* All efforts of all racers, race->passes times in turns: reports "race_search". */
struct gx_race_points gx_race_sweep(const struct gx_race *race, struct gx_racer *const *racers, size_t n_racers);
void gx_race_points_free(struct gx_race_points *points);
/* Time at equal recall, ours against theirs: "race_ratio". @read_gb_per_s: see gx_race_yardstick. */
void gx_race_compare(const struct gx_race *race, const struct gx_race_points *points, double read_gb_per_s);
/* The point of the racer that is the cheapest to reach @recall at 10; NULL = none does. */
const struct gx_race_point *gx_race_cheapest(const struct gx_race_points *points, const struct gx_racer *racer,
                                             double recall);

/* What this machine's memory gives one thread: "race_yardstick". Returns GB/s of a plain read. */
double gx_race_yardstick(const struct gx_race *race, const char *when);

/* Searches of 1 to race->threads threads at a time, where recall@10 is 0.985: "race_threads". */
void gx_race_scale(const struct gx_race *race, const struct gx_race_points *points, struct gx_racer *const *racers,
                   size_t n_racers);
/* One search at a time that idle cores help with, ours only: "race_crew", in which wall time is what counts. */
void gx_race_help(const struct gx_race *race, struct gx_racer *const *racers, size_t n_racers);
/* One row at a time into the full index: "race_insert". Grows the field. */
void gx_race_insert(struct gx_race_field *field, struct gx_racer *const *racers, size_t n_racers);
/* Both with a field and indexes of their own, ours only. Removed rows: "race_remove" and, against an index that is
 * built from what is left, "race_removed"; as many rows replaced as half of the gallery holds: "race_churned". */
void gx_race_remove(const struct gx_race *race, const struct gx_racer_kind *kind);
void gx_race_churn(const struct gx_race *race, const struct gx_racer_kind *kind);

/* Memory of this process, in bytes: resident, and of it in huge pages. */
struct gx_race_memory {
    uint64_t resident, huge;
};
struct gx_race_memory gx_race_memory_now(void);

/* Microseconds of CPU that this thread, and this process, have used; and of time. */
double gx_race_thread_us(void);
double gx_race_process_us(void);
double gx_race_wall_us(void);

#endif
