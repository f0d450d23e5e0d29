/* What removal by order costs on a running server: how soon it is acknowledged, ERASED and VERIFIED, what searches feel
 * of it, and what it leaves of an index's recall. One JSON line per figure; README.md says what each one means.
 *
 * It fills a gallery of its own with synthetic people and removes more than half of it again. Run it on a quiet
 * machine, against a server without other work; figures of one run belong together. Exits with 1 when a ticket FAILED
 * or is not VERIFIED in the end. */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "indexd/client.h"
#include "measure.h"

#define ORDER_REF   "bench"
#define ORDER       10000 /* records of a large order */
#define ORDERS_MAX  5     /* large orders: so many, as long as they stay within a tenth of the rows */
#define SINGLES     30
#define ARRESTS     10
#define MIXED       300
#define INSERT      50 /* records of one insert beside them */
#define SEARCHERS   2
#define K           50
#define PROBES      256 /* that searches take in turns */
#define MEASURE_US  ((int64_t)30 * 1000000)
#define SETTLE_US   ((int64_t)5 * 1000000)
#define VERIFIED_US ((int64_t)1800 * 1000000)
#define PATIENCE_US ((int64_t)120 * 1000000) /* for a series of single removals */

static struct gx_measure m = {.program = "erase",
                              .server = GX_CLIENT_SERVER,
                              .gallery = "bench-erase",
                              .engine = "flat",
                              .rows = 100000,
                              .seed = 1,
                              .dim = 512};
static size_t n_recall_probes = 1000;
static float *probes; /* [PROBES][dim] */
static uint64_t random_state;

static bool *is_gone; /* [n_rows]: rows of the people that are not enrolled, or not any more */
static uint64_t n_rows, n_live, next_row;
static bool all_well = true;

static _Noreturn void die(const char *what)
{
    gx_measure_die(&m, what, gx_client_error());
}

/* splitmix64 */
static uint64_t draw(void)
{
    uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* --- searches --- */

/* A thread that searches until it is told to stop, one probe after another. */
struct searcher {
    pthread_t thread;
    atomic_bool stop;
    struct gx_measure_series us;
};

static double search_once(gx_client *client, size_t i)
{
    struct gx_client_result *result;
    struct gx_client_search search = {.k = K};
    int64_t start = gx_clock_monotonic_us();
    if (gx_client_search(client, m.gallery, GX_MEASURE_EMBEDDER, probes + i % PROBES * m.dim, 1, m.dim, &search,
                         &result) != GX_OK)
        die("search");
    double us = (double)(gx_clock_monotonic_us() - start);
    gx_client_result_free(result);
    return us;
}

static void *search_on(void *arg)
{
    struct searcher *s = arg;
    gx_client *client = gx_measure_connect(&m);
    for (size_t i = 0; i < 20; i++) /* connection and caches */
        search_once(client, i);
    for (size_t i = 0; !atomic_load(&s->stop); i++)
        gx_measure_add(&m, &s->us, search_once(client, i));
    gx_client_close(client);
    return NULL;
}

static void begin_search(struct searcher *s)
{
    *s = (struct searcher){0};
    if (pthread_create(&s->thread, NULL, search_on, s) != 0)
        die("start a thread");
}

static void end_search(struct searcher *s)
{
    atomic_store(&s->stop, true);
    pthread_join(s->thread, NULL);
}

/* What the others are compared with. */
static struct gx_measure_series idle_us;

static void search_idle(void)
{
    struct searcher s;
    begin_search(&s);
    gx_measure_pause(MEASURE_US);
    end_search(&s);
    idle_us = s.us;
    gx_measure_report(&m, "erase_search_idle", gx_measure_distribution(&idle_us));
}

static void report_search(const char *what, struct gx_measure_series *us)
{
    json_t *figures = gx_measure_distribution(us);
    json_object_set_new(figures, "p50_over_idle",
                        json_real(gx_measure_quantile(us, 50) / gx_measure_quantile(&idle_us, 50)));
    json_object_set_new(figures, "p99_over_idle",
                        json_real(gx_measure_quantile(us, 99) / gx_measure_quantile(&idle_us, 99)));
    gx_measure_report(&m, what, figures);
}

/* --- orders --- */

/* Some random row that is there yet; it is gone then. */
static uint64_t take_row(void)
{
    uint64_t row;
    do
        row = draw() % n_rows;
    while (is_gone[row]);
    is_gone[row] = true;
    n_live--;
    return row;
}

struct order {
    char (*ids)[GX_PEOPLE_ID_MAX];
    const char **list;
    size_t n;
};

static struct order random_records(size_t n)
{
    struct order o = {.n = n};
    o.ids = gx_measure_alloc(&m, n, sizeof(*o.ids));
    o.list = gx_measure_alloc(&m, n, sizeof(*o.list));
    for (size_t i = 0; i < n; i++) {
        gx_people_record_id(take_row(), o.ids[i]);
        o.list[i] = o.ids[i];
    }
    return o;
}

/* The arrest of some random row, with all rows of it. */
static struct order random_arrest(void)
{
    struct order o = random_records(1);
    struct gx_people_photo photo, other;
    uint64_t first;
    uint32_t n;
    gx_people_row(&m.people, strtoull(o.ids[0] + strlen("photo-"), NULL, 10), NULL, &photo);
    gx_people_arrest_id(photo.person, photo.arrest, o.ids[0]);
    gx_people_rows_of(&m.people, photo.person, &first, &n);
    for (uint64_t row = first; row < first + n && row < n_rows; row++) {
        gx_people_row(&m.people, row, NULL, &other);
        n_live -= other.arrest == photo.arrest && !is_gone[row];
        is_gone[row] = is_gone[row] || other.arrest == photo.arrest;
    }
    return o;
}

static void free_order(struct order *o)
{
    free(o->ids);
    free(o->list);
}

static void wait_for_all(gx_client *client, const char *what)
{
    all_well = gx_measure_wait_verified(&m, client, what) && all_well;
}

static double give_order(gx_client *client, enum gx_client_id_kind kind, const struct order *o,
                         struct gx_client_ticket *out)
{
    int64_t start = gx_clock_monotonic_us();
    if (gx_client_expunge(client, m.gallery, kind, o->list, o->n, ORDER_REF, -1, false, NULL, out) != GX_OK)
        die("expunge");
    return (double)(gx_clock_monotonic_us() - start);
}

static bool take_ticket(void *user, const struct gx_client_ticket *ticket)
{
    *(struct gx_client_ticket *)user = *ticket;
    return ticket->state != GX_CLIENT_TICKET_FAILED;
}

static void wait_until_verified(gx_client *client, struct gx_client_ticket *ticket)
{
    char id[sizeof(ticket->ticket_id)];
    memcpy(id, ticket->ticket_id, sizeof(id));
    if (gx_client_ticket_watch(client, id, VERIFIED_US, take_ticket, ticket) != GX_OK)
        die("watch a ticket");
    if (ticket->state != GX_CLIENT_TICKET_VERIFIED) {
        fprintf(stderr, "erase: %s is not VERIFIED: %s\n", ticket->ticket_id, ticket->problem);
        exit(1);
    }
}

/* --- where the time goes --- */

enum stage { FLUSHED, COMPACTED, UNLINKED, ERASED, VERIFIED, UNINDEXED, STAGES };
static const char *const stage_names[STAGES] = {"accepted_to_flushed_us",   "flushed_to_compacted_us",
                                                "compacted_to_unlinked_us", "unlinked_to_erased_us",
                                                "erased_to_verified_us",    "accepted_to_unindexed_us"};

/* What tickets of one kind took. */
struct tickets {
    struct gx_measure_series acknowledged, verified; /* as the client sees it */
    struct gx_measure_series stages[STAGES];         /* by the server's clock */
    struct gx_measure_series erased_total, verified_total;
    double files_rewritten, bytes_rewritten, files_removed, files_scanned, bytes_scanned;
    uint64_t records, by_bytes;
};

static void add_ticket(struct tickets *t, const struct gx_client_ticket *ticket)
{
    const int64_t at[STAGES] = {ticket->flushed_at_us, ticket->compacted_at_us, ticket->unlinked_at_us,
                                ticket->erased_at_us, ticket->verified_at_us};
    int64_t before = ticket->accepted_at_us;
    for (int s = FLUSHED; s <= VERIFIED; before = at[s++])
        gx_measure_add(&m, &t->stages[s], (double)(at[s] - before));
    gx_measure_add(&m, &t->stages[UNINDEXED], (double)(ticket->unindexed_at_us - ticket->accepted_at_us));
    gx_measure_add(&m, &t->erased_total, (double)(ticket->erased_at_us - ticket->accepted_at_us));
    gx_measure_add(&m, &t->verified_total, (double)(ticket->verified_at_us - ticket->accepted_at_us));
    t->files_rewritten += (double)ticket->files_rewritten;
    t->bytes_rewritten += (double)ticket->bytes_rewritten;
    t->files_removed += (double)ticket->files_removed;
    t->files_scanned += (double)ticket->files_scanned;
    t->bytes_scanned += (double)ticket->bytes_scanned;
    t->records += ticket->records;
    t->by_bytes += ticket->method == GX_CLIENT_VERIFY_BYTES;
}

static void report_tickets(const char *what, struct tickets *t)
{
    json_t *stages = json_object(), *figures = json_object();
    double n = (double)t->acknowledged.n;
    json_object_set_new(figures, "acknowledged", gx_measure_distribution(&t->acknowledged));
    json_object_set_new(figures, "verified", gx_measure_distribution(&t->verified));
    for (int s = 0; s < STAGES; s++) {
        json_object_set_new(stages, stage_names[s], json_real(gx_measure_quantile(&t->stages[s], 50)));
        free(t->stages[s].us);
    }
    json_object_set_new(figures, "stages_p50", stages);
    json_object_set_new(figures, "erased_p50_us", json_real(gx_measure_quantile(&t->erased_total, 50)));
    json_object_set_new(figures, "verified_p50_us", json_real(gx_measure_quantile(&t->verified_total, 50)));
    json_object_set_new(figures, "records", json_integer((json_int_t)t->records));
    json_object_set_new(figures, "files_rewritten", json_real(t->files_rewritten / n));
    json_object_set_new(figures, "bytes_rewritten", json_real(t->bytes_rewritten / n));
    json_object_set_new(figures, "files_removed", json_real(t->files_removed / n));
    json_object_set_new(figures, "files_scanned", json_real(t->files_scanned / n));
    json_object_set_new(figures, "bytes_scanned", json_real(t->bytes_scanned / n));
    json_object_set_new(figures, "verified_by_bytes", json_integer((json_int_t)t->by_bytes));
    gx_measure_report(&m, what, figures);
    free(t->acknowledged.us);
    free(t->verified.us);
    free(t->erased_total.us);
    free(t->verified_total.us);
}

/* @n orders of one record or one arrest each, one after the other is VERIFIED; fewer where that takes too long. */
static void singles(gx_client *client, const char *what, enum gx_client_id_kind kind, size_t n)
{
    struct tickets t = {0};
    int64_t start = gx_clock_monotonic_us();
    for (size_t i = 0; i < n && (i < 2 || gx_clock_monotonic_us() - start < PATIENCE_US); i++) {
        struct order o = kind == GX_CLIENT_ARREST ? random_arrest() : random_records(1);
        struct gx_client_ticket ticket;
        int64_t began = gx_clock_monotonic_us();
        gx_measure_add(&m, &t.acknowledged, give_order(client, kind, &o, &ticket));
        wait_until_verified(client, &ticket);
        gx_measure_add(&m, &t.verified, (double)(gx_clock_monotonic_us() - began));
        add_ticket(&t, &ticket);
        free_order(&o);
    }
    report_tickets(what, &t);
}

/* Large orders, each with searches beside it until it is VERIFIED. */
static void large_orders(gx_client *client)
{
    struct tickets t = {0};
    struct searcher s;
    size_t n = (size_t)(m.rows / 10 / ORDER);
    n = n < 1 ? 1 : n > ORDERS_MAX ? ORDERS_MAX : n;
    begin_search(&s);
    for (size_t i = 0; i < n; i++) {
        struct order o = random_records(m.rows / 10 < ORDER ? (size_t)(m.rows / 10) : ORDER);
        struct gx_client_ticket ticket;
        int64_t began = gx_clock_monotonic_us();
        gx_measure_add(&m, &t.acknowledged, give_order(client, GX_CLIENT_RECORD, &o, &ticket));
        wait_until_verified(client, &ticket);
        gx_measure_add(&m, &t.verified, (double)(gx_clock_monotonic_us() - began));
        add_ticket(&t, &ticket);
        free_order(&o);
    }
    end_search(&s);
    report_tickets("erase_order", &t);
    report_search("erase_search_beside_order", &s.us);
    free(s.us.us);
}

/* --- what the disk takes by itself --- */

/* An acknowledgement waits for three syncs, one after another: the ledger's entry and mark, and the store's log. The
 * same three, by a bare program beside the same load, in a file of their own in @sync_dir. */
static const char *sync_dir;
static atomic_bool stop_syncing;

#define ENTRY_LEN 236 /* bytes of the ledger's entry for one record; of a mark; of the log's record */
#define MARK_LEN  64
#define LOG_LEN   610
#define SYNC_US   8000 /* from one series to the next */

static void *sync_on(void *arg)
{
    struct gx_measure_series *us = arg;
    uint8_t bytes[LOG_LEN] = {0};
    int fd[2];
    off_t at[2] = {MARK_LEN, 0};
    for (int i = 0; i < 2; i++) {
        fd[i] = open(sync_dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        if (fd[i] < 0)
            gx_measure_die(&m, sync_dir, strerror(errno));
    }
    while (!atomic_load(&stop_syncing)) {
        int64_t start = gx_clock_monotonic_us();
        if (pwrite(fd[0], bytes, ENTRY_LEN, at[0]) != ENTRY_LEN || fdatasync(fd[0]) != 0 ||
            pwrite(fd[0], bytes, MARK_LEN, 0) != MARK_LEN || fdatasync(fd[0]) != 0 ||
            pwrite(fd[1], bytes, LOG_LEN, at[1]) != LOG_LEN || fdatasync(fd[1]) != 0)
            gx_measure_die(&m, sync_dir, strerror(errno));
        gx_measure_add(&m, us, (double)(gx_clock_monotonic_us() - start));
        at[0] += ENTRY_LEN;
        at[1] += LOG_LEN;
        gx_measure_pause(SYNC_US);
    }
    close(fd[0]);
    close(fd[1]);
    return NULL;
}

static void begin_syncs(pthread_t *thread, struct gx_measure_series *us)
{
    *us = (struct gx_measure_series){0};
    atomic_store(&stop_syncing, false);
    if (sync_dir != NULL && pthread_create(thread, NULL, sync_on, us) != 0)
        die("start a thread");
}

static void end_syncs(pthread_t thread, struct gx_measure_series *us, const char *what)
{
    if (sync_dir == NULL)
        return;
    atomic_store(&stop_syncing, true);
    pthread_join(thread, NULL);
    gx_measure_report(&m, what, gx_measure_distribution(us));
    free(us->us);
}

/* --- mixed load --- */

static atomic_bool stop_inserting;

static void *insert_on(void *arg)
{
    gx_client *client = gx_measure_connect(&m);
    struct gx_measure_batch *b = gx_measure_batch_new(&m);
    struct gx_measure_series *us = arg;
    while (!atomic_load(&stop_inserting)) {
        gx_measure_batch_fill(&m, b, next_row, INSERT);
        next_row += INSERT;
        int64_t start = gx_clock_monotonic_us();
        if (gx_client_insert(client, m.gallery, GX_MEASURE_EMBEDDER, b->records, b->rows, INSERT, m.dim, NULL, NULL) !=
            GX_OK)
            die("insert");
        gx_measure_add(&m, us, (double)(gx_clock_monotonic_us() - start));
    }
    gx_measure_batch_free(b);
    gx_client_close(client);
    return NULL;
}

/* What was inserted may be removed, too. */
static void add_rows(void)
{
    bool *grown = reallocarray(is_gone, next_row, sizeof(*is_gone));
    if (grown == NULL)
        gx_measure_die(&m, "memory", "there is none left");
    is_gone = grown;
    for (uint64_t row = n_rows; row < next_row; row++)
        is_gone[row] = row < n_rows + GX_PEOPLE_PHOTOS_MAX;
    n_live += next_row - n_rows - GX_PEOPLE_PHOTOS_MAX;
    n_rows = next_row;
}

static void mixed_load(gx_client *client)
{
    struct searcher searchers[SEARCHERS];
    struct gx_measure_series acknowledged = {0}, inserted = {0};
    pthread_t inserter, syncer;
    struct gx_measure_series synced;
    for (size_t i = 0; i < SEARCHERS; i++)
        begin_search(&searchers[i]);
    if (pthread_create(&inserter, NULL, insert_on, &inserted) != 0)
        die("start a thread");
    gx_measure_pause(1000000);
    begin_syncs(&syncer, &synced);
    for (size_t i = 0; i < MIXED; i++) {
        struct order o = random_records(1);
        struct gx_client_ticket ticket;
        gx_measure_add(&m, &acknowledged, give_order(client, GX_CLIENT_RECORD, &o, &ticket));
        free_order(&o);
    }
    end_syncs(syncer, &synced, "erase_mixed_bare_syncs");
    atomic_store(&stop_inserting, true);
    pthread_join(inserter, NULL);
    add_rows();
    struct gx_measure_series searched = {0};
    for (size_t i = 0; i < SEARCHERS; i++) {
        end_search(&searchers[i]);
        for (size_t j = 0; j < searchers[i].us.n; j++)
            gx_measure_add(&m, &searched, searchers[i].us.us[j]);
        free(searchers[i].us.us);
    }
    gx_measure_report(&m, "erase_mixed_acknowledged", gx_measure_distribution(&acknowledged));
    gx_measure_report(&m, "erase_mixed_inserted", gx_measure_distribution(&inserted));
    report_search("erase_mixed_searched", &searched);
    free(acknowledged.us);
    free(inserted.us);
    free(searched.us);
    wait_for_all(client, "erase_mixed_verified");
}

/* --- recall --- */

/* The 50 best cosines of each probe, in the order of the probes, as found with @exact or without. */
static float *lists(gx_client *client, bool exact)
{
    float *cosines = gx_measure_alloc(&m, n_recall_probes * K, sizeof(*cosines));
    float *rows = gx_measure_alloc(&m, GX_BATCH_PROBES_MAX * m.dim, sizeof(*rows));
    struct gx_client_search search = {.k = K, .exact = exact};
    for (size_t first = 0, n; first < n_recall_probes; first += n) {
        struct gx_client_result *result;
        n = n_recall_probes - first < GX_BATCH_PROBES_MAX ? n_recall_probes - first : GX_BATCH_PROBES_MAX;
        for (size_t i = 0; i < n; i++)
            gx_people_probe(&m.people, PROBES + first + i, rows + i * m.dim, NULL);
        if (gx_client_search(client, m.gallery, GX_MEASURE_EMBEDDER, rows, n, m.dim, &search, &result) != GX_OK)
            die("search");
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < K; j++)
                cosines[(first + i) * K + j] =
                    j < result->answers[i].n_candidates ? result->answers[i].candidates[j].cosine : -2;
        gx_client_result_free(result);
    }
    free(rows);
    return cosines;
}

/* Of each probe: the share of its @k best that @got has, ties counting as equal. */
static double *recalls(const float *got, const float *truth, size_t k)
{
    double *out = gx_measure_alloc(&m, n_recall_probes, sizeof(*out));
    for (size_t i = 0; i < n_recall_probes; i++)
        for (size_t j = 0; j < k; j++)
            out[i] += (got[i * K + j] >= truth[i * K + k - 1]) / (double)k;
    return out;
}

/* Mean of @a, and of @a - @b with its standard error. */
static void compare(const double *a, const double *b, double *out_mean, double *out_difference, double *out_error)
{
    double sum = 0, difference = 0, squares = 0, n = (double)n_recall_probes;
    for (size_t i = 0; i < n_recall_probes; i++) {
        sum += a[i];
        difference += a[i] - b[i];
        squares += (a[i] - b[i]) * (a[i] - b[i]);
    }
    *out_mean = sum / n;
    *out_difference = difference / n;
    *out_error = sqrt((squares / n - *out_difference * *out_difference) / n);
}

static void report_recall(const char *when, uint64_t removed, uint64_t of, const float *got, const float *fresh,
                          const float *truth, const struct gx_client_gallery_stats *stats)
{
    static const size_t ks[] = {10, 50};
    json_t *figures = json_pack("{s:s, s:I, s:f, s:I, s:I, s:I}", "when", when, "removed", (json_int_t)removed,
                                "removed_of_index", (double)removed / (double)of, "dead", (json_int_t)stats->dead,
                                "tail", (json_int_t)stats->tail, "probes", (json_int_t)n_recall_probes);
    for (size_t i = 0; i < 2; i++) {
        char name[40];
        double mean, difference, error;
        double *a = recalls(got, truth, ks[i]), *b = recalls(fresh, truth, ks[i]);
        compare(a, b, &mean, &difference, &error);
        snprintf(name, sizeof(name), "recall_at_%zu", ks[i]);
        json_object_set_new(figures, name, json_real(mean));
        snprintf(name, sizeof(name), "minus_fresh_at_%zu", ks[i]);
        json_object_set_new(figures, name, json_real(difference));
        snprintf(name, sizeof(name), "standard_error_at_%zu", ks[i]);
        json_object_set_new(figures, name, json_real(error));
        free(a);
        free(b);
    }
    gx_measure_report(&m, "erase_recall", figures);
}

static void build_anew(gx_client *client)
{
    struct gx_client_gallery_stats stats;
    enum gx_status status;
    while ((status = gx_client_gallery_build(client, m.gallery, NULL, NULL)) == GX_E_STATE)
        gx_measure_pause(100000); /* it is being built already */
    if (status != GX_OK)
        die("build the index");
    do {
        gx_measure_pause(50000);
        stats = gx_measure_stats(&m, client);
    } while (stats.build.running);
    if (stats.build.problem[0] != '\0') {
        fprintf(stderr, "erase: build the index: %s\n", stats.build.problem);
        exit(1);
    }
}

/* Removes rows until @fraction of the @of rows that the index was built from are gone, @removed of them being so
 * already; then compares it with a fresh one. Returns how many rows that one was built from. */
static uint64_t recall_after(gx_client *client, double fraction, uint64_t of, uint64_t removed)
{
    struct gx_client_gallery_stats stats[3];
    float *got[3];
    while (removed < (uint64_t)(fraction * (double)of) && n_live > 0) {
        uint64_t n = (uint64_t)(fraction * (double)of) - removed;
        n = n < ORDER ? n : ORDER;
        n = n < n_live ? n : n_live;
        struct order o = random_records((size_t)n);
        struct gx_client_ticket ticket;
        give_order(client, GX_CLIENT_RECORD, &o, &ticket);
        removed += n;
        free_order(&o);
    }
    stats[0] = gx_measure_stats(&m, client);
    got[0] = lists(client, false);
    wait_for_all(client, "erase_bulk_verified");
    stats[1] = gx_measure_stats(&m, client);
    got[1] = lists(client, false);
    float *truth = lists(client, true);
    build_anew(client);
    stats[2] = gx_measure_stats(&m, client);
    got[2] = lists(client, false);
    static const char *const when[] = {"acknowledged", "verified", "fresh"};
    for (size_t i = 0; i < 3; i++)
        report_recall(when[i], removed, of, got[i], got[2], truth, &stats[i]);
    for (size_t i = 0; i < 3; i++)
        free(got[i]);
    free(truth);
    return stats[2].records;
}

/* --- command line --- */

static const struct argp_option options[] = {
    {"server", 'S', "ADDRESS", 0, "The running server (" GX_CLIENT_SERVER ")", 0},
    {"gallery", 'g', "NAME", 0, "Gallery that is made for it (bench-erase)", 0},
    {"rows", 'n', "N", 0, "Rows (100000)", 0},
    {"dim", 'd', "N", 0, "Dimension (512)", 0},
    {"engine", 'e', "ENGINE", 0, "Engine (flat)", 0},
    {"seed", 's', "N", 0, "Seed of the people and of what is removed (1)", 0},
    {"sync-dir", 'y', "DIR", 0,
     "Beside the mixed load, times in this folder, on the disk of the server's data, the syncs "
     "that an acknowledgement waits for",
     0},
    {"recall-probes", 'p', "N", 0, "Probes of a measurement of recall; 0: none (1000)", 0},
    {0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    (void)state;
    switch (key) {
    case 'S': m.server = arg; return 0;
    case 'g': m.gallery = arg; return 0;
    case 'n': m.rows = strtoull(arg, NULL, 10); return 0;
    case 'd': m.dim = (uint32_t)strtoul(arg, NULL, 10); return 0;
    case 'e': m.engine = arg; return 0;
    case 's': m.seed = strtoull(arg, NULL, 10); return 0;
    case 'y': sync_dir = arg; return 0;
    case 'p': n_recall_probes = strtoul(arg, NULL, 10); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static void prepare(void)
{
    if (m.rows < 10000 || !gx_people_init(&m.people, m.seed, m.dim, m.rows)) {
        fprintf(stderr, "erase: --rows from 10000, --dim from 2 to 4096\n");
        exit(1);
    }
    is_gone = gx_measure_alloc(&m, m.rows, sizeof(*is_gone));
    probes = gx_measure_alloc(&m, (size_t)PROBES * m.dim, sizeof(*probes));
    for (size_t i = 0; i < PROBES; i++)
        gx_people_probe(&m.people, i, probes + i * m.dim, NULL);
    random_state = m.seed;
    n_rows = n_live = m.rows;
    next_row = m.rows + GX_PEOPLE_PHOTOS_MAX; /* nobody whose arrest may have been removed */
}

int main(int argc, char **argv)
{
    static const struct argp argp = {options, parse_option, NULL, "Measures removal by order.", NULL, NULL, NULL};
    argp_parse(&argp, argc, argv, 0, NULL, NULL);
    prepare();
    gx_client *client = gx_measure_connect(&m);
    gx_measure_fill_gallery(&m, client, "erase_fill");
    if (strcmp(gx_measure_stats(&m, client).engine, "flat") != 0)
        build_anew(client);      /* that of before was begun with the first rows */
    gx_measure_pause(SETTLE_US); /* the index is saved, the store compacts */
    search_idle();
    singles(client, "erase_record", GX_CLIENT_RECORD, SINGLES);
    singles(client, "erase_arrest", GX_CLIENT_ARREST, ARRESTS);
    large_orders(client);
    mixed_load(client);
    if (n_recall_probes > 0 && strcmp(gx_measure_stats(&m, client).engine, "flat") != 0) {
        uint64_t removed = n_rows - GX_PEOPLE_PHOTOS_MAX - n_live;
        recall_after(client, 0.5, recall_after(client, 0.1, m.rows, removed), 0);
    }
    wait_for_all(client, "erase_end");
    gx_client_close(client);
    free(idle_us.us);
    free(probes);
    free(is_gone);
    if (!all_well)
        fprintf(stderr, "erase: a ticket FAILED or is not VERIFIED: see 'indexctl ticket list'\n");
    return all_well ? 0 : 1;
}
