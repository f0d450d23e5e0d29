/* race: engines of indexd and of others in one process, on the same generated people, against the truth of the same
 * run. One JSON line per figure on the standard output, the same for people on the standard error.
 *
 * The path: yardstick of memory → rows, probes, truth → every index built, one after the other → all efforts of all of
 * them, in turns → time at equal recall → threads → inserts; then, with rows of their own, removals and churn.
 * Times are CPU of the searching thread (other programs on the machine then disturb less) and wall clock, both.
 *
 * What can go wrong: memory that is not in huge pages is slower, for everybody. glibc's malloc gives huge pages when it
 * is told so at the start of the process, so the program starts itself once more with that setting. */
#include "race.h"

#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MALLOC_SETTING "glibc.malloc.hugetlb"
#define ENGINES_MAX    16

static const struct gx_racer_kind *const kinds[] = {&gx_racer_hnsw,    &gx_racer_scan,       &gx_racer_exact,
                                                    &gx_racer_hnswlib, &gx_racer_faiss_hnsw, &gx_racer_faiss_flat};

static struct gx_race race = {.measure = {.program = "race", .engine = "", .rows = 200000, .seed = 1, .dim = 512},
                              .n_probes = 2000,
                              .n_exhaustive_probes = 200,
                              .n_change_probes = 2000,
                              .n_inserts = 1000,
                              .passes = 3,
                              .efs = {50, 75, 100, 150, 200, 300, 400, 600, 800},
                              .n_efs = 9,
                              .efforts = {0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1},
                              .n_efforts = 8};

static const struct gx_racer_kind *chosen[ENGINES_MAX];
static size_t n_chosen;

/* --- command line --- */

enum { OPTION_EF = 256, OPTION_EFFORT, OPTION_EXHAUSTIVE, OPTION_CHANGE, OPTION_INSERTS, OPTION_PASSES, OPTION_KEEP };

static const struct argp_option options[] = {
    {"rows", 'n', "N", 0, "Rows of the gallery (200000)", 0},
    {"dim", 'd', "N", 0, "Dimension (512)", 0},
    {"seed", 's', "N", 0, "Seed of the people (1)", 0},
    {"engines", 'e', "NAME,...", 0, "Who takes part: hnsw, scan, exact, hnswlib, faiss-hnsw, faiss-flat (all)", 0},
    {"measure", 'm', "WHAT,...", 0, "search, threads, crew, insert, remove, churn (search)", 0},
    {"probes", 'p', "N", 0, "Probes of a sweep (2000)", 0},
    {"exhaustive-probes", OPTION_EXHAUSTIVE, "N", 0, "Probes for exact and faiss-flat (200)", 0},
    {"change-probes", OPTION_CHANGE, "N", 0, "Probes after removals and churn (2000)", 0},
    {"inserts", OPTION_INSERTS, "N", 0, "Single inserts (1000)", 0},
    {"passes", OPTION_PASSES, "N", 0, "Times that every sweep is run, in turns (3)", 0},
    {"ef", OPTION_EF, "N,...", 0, "Efforts of graphs (50,75,100,150,200,300,400,600,800)", 0},
    {"effort", OPTION_EFFORT, "X,...", 0, "Efforts of scan (0,0.1,0.2,0.3,0.4,0.5,0.7,1)", 0},
    {"threads", 't', "N", 0, "Threads that build, and the most that search (one per core)", 0},
    {"work", 'w', "DIR", 0, "Keeps the truth in this folder for the next run", 0},
    {"keep-peers", OPTION_KEEP, NULL, 0, "Keeps the indexes of others there, too: their builds are then not measured",
     0},
    {0},
};

static bool list_numbers(char *text, double *out, size_t *out_n)
{
    *out_n = 0;
    for (char *rest, *word = strtok_r(text, ",", &rest); word != NULL; word = strtok_r(NULL, ",", &rest)) {
        char *end;
        if (*out_n == GX_RACE_SWEEP_MAX)
            return false;
        out[(*out_n)++] = strtod(word, &end);
        if (*end != '\0' || out[*out_n - 1] < 0)
            return false;
    }
    return *out_n > 0;
}

static bool list_engines(char *text)
{
    n_chosen = 0;
    for (char *rest, *word = strtok_r(text, ",", &rest); word != NULL; word = strtok_r(NULL, ",", &rest)) {
        size_t i = 0;
        while (i < GX_COUNT_OF(kinds) && strcmp(kinds[i]->name, word) != 0)
            i++;
        if (i == GX_COUNT_OF(kinds) || n_chosen == ENGINES_MAX)
            return false;
        chosen[n_chosen++] = kinds[i];
    }
    return n_chosen > 0;
}

static bool list_events(char *text)
{
    static const struct {
        const char *name;
        bool *wanted;
    } events[] = {{"search", &race.searches}, {"threads", &race.scales}, {"crew", &race.helps},
                  {"insert", &race.inserts},  {"remove", &race.removes}, {"churn", &race.churns}};
    for (char *rest, *word = strtok_r(text, ",", &rest); word != NULL; word = strtok_r(NULL, ",", &rest)) {
        size_t i = 0;
        while (i < GX_COUNT_OF(events) && strcmp(events[i].name, word) != 0)
            i++;
        if (i == GX_COUNT_OF(events))
            return false;
        *events[i].wanted = true;
    }
    return true;
}

static uint64_t number(const char *text, uint64_t least, uint64_t most, struct argp_state *state)
{
    char *end;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || end == text || value < least || value > most)
        argp_error(state, "%s: a number from %llu to %llu is wanted", text, (unsigned long long)least,
                   (unsigned long long)most);
    return value;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    bool good = true;
    switch (key) {
    case 'n': race.measure.rows = number(arg, 1000, 100000000, state); break;
    case 'd': race.measure.dim = (uint32_t)number(arg, 2, 4096, state); break;
    case 's': race.measure.seed = number(arg, 0, UINT64_MAX, state); break;
    case 'e': good = list_engines(arg); break;
    case 'm': good = list_events(arg); break;
    case 'p': race.n_probes = number(arg, 16, 1000000, state); break;
    case OPTION_EXHAUSTIVE: race.n_exhaustive_probes = number(arg, 16, 1000000, state); break;
    case OPTION_CHANGE: race.n_change_probes = number(arg, 16, 1000000, state); break;
    case OPTION_INSERTS: race.n_inserts = number(arg, 1, 1000000, state); break;
    case OPTION_PASSES: race.passes = (unsigned)number(arg, 1, 100, state); break;
    case OPTION_EF: good = list_numbers(arg, race.efs, &race.n_efs); break;
    case OPTION_EFFORT: good = list_numbers(arg, race.efforts, &race.n_efforts); break;
    case 't': race.threads = (unsigned)number(arg, 1, 256, state); break;
    case 'w': race.work = arg; break;
    case OPTION_KEEP: race.keep_peers = true; break;
    default: return ARGP_ERR_UNKNOWN;
    }
    if (!good)
        argp_error(state, "%s: see --help for what is known", arg);
    return 0;
}

static void settle(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (race.threads == 0)
        race.threads = cores < 1 ? 1 : (unsigned)cores;
    if (n_chosen == 0) {
        memcpy(chosen, kinds, sizeof(kinds));
        n_chosen = GX_COUNT_OF(kinds);
    }
    if (!race.scales && !race.helps && !race.inserts && !race.removes && !race.churns)
        race.searches = true;
    race.searches |= race.scales; /* which need to know where recall is reached */
    race.n_exhaustive_probes = GX_MIN(race.n_exhaustive_probes, race.n_probes);
    race.n_change_probes = GX_MIN(race.n_change_probes, race.n_probes);
    if (!gx_people_init(&race.measure.people, race.measure.seed, race.measure.dim, race.measure.rows))
        gx_measure_die(&race.measure, "people", "they cannot have this dimension");
}

/* --- the race --- */

/* Starts this program again with huge pages for malloc, unless that has been done. */
static void want_huge_pages(char **argv)
{
    char tunables[1024];
    const char *before = getenv("GLIBC_TUNABLES");
    if (before != NULL && strstr(before, MALLOC_SETTING) != NULL)
        return;
    snprintf(tunables, sizeof(tunables), "%s%s" MALLOC_SETTING "=1", before == NULL ? "" : before,
             before == NULL ? "" : ":");
    setenv("GLIBC_TUNABLES", tunables, 1);
    execv("/proc/self/exe", argv);
    fprintf(stderr, "race: without huge pages for malloc: %s\n", strerror(errno));
}

/* How often the exact search finds a mate: what no engine can be better at. */
static void report_truth(const struct gx_race_field *field)
{
    double hits[GX_RACE_CUTS] = {0}, n_mated = (double)GX_MAX(field->n_mated, (size_t)1);
    for (size_t i = 0; i < field->n_true; i++) {
        uint32_t slots[GX_RACE_K];
        for (size_t j = 0; j < GX_RACE_K; j++)
            slots[j] = field->truth[i * GX_RACE_K + j].slot;
        struct gx_race_score score = gx_race_field_judge(field, i, slots, GX_RACE_K);
        for (size_t c = 0; c < GX_RACE_CUTS; c++)
            hits[c] += field->mated[i] ? score.mate_hit[c] / n_mated : 0;
    }
    fprintf(stderr, "race_truth    %zu probes, %zu mated: mate hit @1 %.4f @10 %.4f @50 %.4f\n", field->n_true,
            field->n_mated, hits[0], hits[1], hits[2]);
    gx_measure_report(&race.measure, "race_truth",
                      json_pack("{s:s, s:I, s:I, s:f, s:f, s:f}", "engine", "none", "probes", (json_int_t)field->n_true,
                                "mated_probes", (json_int_t)field->n_mated, "mate_hit_at_1", hits[0], "mate_hit_at_10",
                                hits[1], "mate_hit_at_50", hits[2]));
}

/* On the field that all share: building, searching, inserting. */
static void run_together(void)
{
    struct gx_racer *racers[ENGINES_MAX];
    double read_gb_per_s = gx_race_yardstick(&race, "before");
    struct gx_race_field *field = gx_race_field_new(&race);
    gx_race_field_know(field, race.n_probes);
    report_truth(field);
    for (size_t i = 0; i < n_chosen; i++)
        racers[i] = gx_racer_build(chosen[i], field);
    gx_racer_thread_begin();
    if (race.searches) {
        struct gx_race_points points = gx_race_sweep(&race, racers, n_chosen);
        read_gb_per_s = GX_MAX(read_gb_per_s, gx_race_yardstick(&race, "after"));
        gx_race_compare(&race, &points, read_gb_per_s);
        if (race.scales)
            gx_race_scale(&race, &points, racers, n_chosen);
        gx_race_points_free(&points);
    }
    if (race.helps)
        gx_race_help(&race, racers, n_chosen);
    if (race.inserts)
        gx_race_insert(field, racers, n_chosen);
    for (size_t i = 0; i < n_chosen; i++)
        gx_racer_free(racers[i]);
    gx_race_field_free(field);
}

int main(int argc, char **argv)
{
    static const struct argp argp = {
        options, parse_option, NULL, "Engines of indexd and of others on the same rows, in one process.",
        NULL,    NULL,         NULL};
    want_huge_pages(argv);
    argp_parse(&argp, argc, argv, 0, NULL, NULL);
    settle();
    if (race.searches || race.helps || race.inserts)
        run_together();
    for (size_t i = 0; i < n_chosen; i++) {
        if (race.removes && chosen[i]->remove != NULL)
            gx_race_remove(&race, chosen[i]);
        if (race.churns && chosen[i]->remove != NULL)
            gx_race_churn(&race, chosen[i]);
    }
    return 0;
}
