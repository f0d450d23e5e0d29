/* What an index has learnt, when most rows came after it was trained: no row, and nothing of a person who is expunged.
 * It is trained anew when the gallery has grown, and then no more. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "held.h"
#include "saved_index.h"
#include "served.h"
#include "vec.h"

#define DIM   64
#define LISTS 100
#define FIRST 900 /* rows that suffice to train: 8 per list */
#define PIECE 500 /* enrolled at once afterwards: fewer than it holds, so that growth alone has it built anew */
#define GROWN (4 * FIRST)
#define ROWS  4500
#define SAME  0.9999

static const char *const engines[] = {"faiss:IVF100,SQ8", "faiss:IVF100_HNSW8,SQ8", "faiss:IVF100,PQ4x4fs"};
#define ENGINES ((int)(sizeof(engines) / sizeof(engines[0])))

static struct gx_served served;
static float (*rows)[DIM];

/* The people's, but each tenth is far from all others: alone in a list, if it can be. */
static void make_rows(void)
{
    rows = malloc(ROWS * sizeof(*rows));
    ck_assert_ptr_nonnull(rows);
    for (uint64_t i = 0; i < ROWS; i++) {
        gx_people_row(&served.people, i, rows[i], NULL);
        if (i % 10 == 5) {
            for (size_t j = 0; j < DIM; j++)
                rows[i][j] *= 0.3f;
            rows[i][i / 10 % DIM] += i / 10 / DIM % 2 == 0 ? 3 : -3;
        }
        ck_assert_int_eq(gx_vec_normalise(rows[i], DIM, rows[i], NULL), GX_OK);
    }
}

static void insert(uint64_t first, uint64_t n, const char *engine)
{
    struct gx_served_batch b;
    gx_served_make_batch(&served.people, first, n, &b);
    memcpy(b.rows, rows[first], n * sizeof(*rows));
    gx_served_ok(gx_client_insert(served.client, "g", GX_SERVED_EMBEDDER, b.records, b.rows, n, DIM, NULL, NULL));
    gx_served_free_batch(&b);
    gx_served_await_indexed(&served, "g", engine);
}

static bool is_saved(const char *engine, uint64_t n)
{
    struct gx_saved_index index;
    bool saved = gx_saved_index_open(&index, served.server.data, engine) && index.n == n;
    gx_saved_index_close(&index);
    return saved;
}

/* The row of the first @n that is most like a centroid of the saved index, and how like. */
static uint64_t find_nearest(const char *engine, uint64_t n, double *out_cosine)
{
    struct gx_saved_index index;
    uint64_t nearest = 0;
    *out_cosine = -1;
    gx_served_wait_until(is_saved(engine, n));
    ck_assert(gx_saved_index_open(&index, served.server.data, engine));
    ck_assert_uint_eq(index.n_lists, LISTS);
    for (size_t list = 0; list < LISTS; list++) {
        float centroid[DIM];
        memcpy(centroid, index.centroids + list * sizeof(centroid), sizeof(centroid));
        double square = 0;
        for (size_t j = 0; j < DIM; j++)
            square += (double)centroid[j] * (double)centroid[j];
        ck_assert_msg(fabs(square - 1) < 1e-4, "centroid %zu has length %f", list, sqrt(square));
        for (uint64_t i = 0; i < n; i++) {
            double cosine = 0;
            for (size_t j = 0; j < DIM; j++)
                cosine += (double)centroid[j] * (double)rows[i][j];
            if (cosine > *out_cosine) {
                *out_cosine = cosine;
                nearest = i;
            }
        }
    }
    gx_saved_index_close(&index);
    return nearest;
}

static void expunge_and_look(uint64_t row)
{
    struct gx_client_ticket ticket;
    uint64_t first, n;
    ck_assert_uint_ge(gx_held_windows(served.server.data, rows[row], sizeof(rows[row])), 7);
    gx_served_expunge_arrest(&served, "g", row, &first, &n, &ticket);
    (void)gx_served_await_verified(&served, ticket.ticket_id);
    for (uint64_t i = first; i < first + n; i++)
        ck_assert_uint_eq(gx_held_windows(served.server.data, rows[i], sizeof(rows[i])), 0);
}

START_TEST(no_centroid_is_a_row_and_nothing_stays_of_the_one_that_was_nearest_to_one)
{
    const char *engine = engines[_i];
    double cosine;
    if (gx_served_flat_only())
        return;
    gx_served_begin(&served, DIM, "[index]\nrebuild_after = 1\n");
    make_rows();
    gx_served_create(&served, "g", engine);
    insert(0, FIRST, engine);
    insert(FIRST, PIECE, engine);
    gx_served_restart(&served, true); /* saves it */
    uint64_t row = find_nearest(engine, FIRST + PIECE, &cosine);
    ck_assert_msg(cosine < SAME, "row %d is a centroid: cosine %f", (int)row, cosine);
    expunge_and_look(row);
    gx_served_restart(&served, true);
    ck_assert_uint_eq(gx_held_windows(served.server.data, rows[row], sizeof(rows[row])), 0);
    gx_served_end(&served);
    free(rows);
}
END_TEST

static uint64_t trained_from(const char *engine)
{
    struct gx_saved_index index;
    ck_assert(gx_saved_index_open(&index, served.server.data, engine));
    uint64_t n = index.trained_from;
    gx_saved_index_close(&index);
    return n;
}

static size_t count_growths(void)
{
    return gx_server_log_count(&served.server, "why=growth");
}

START_TEST(index_is_trained_anew_when_the_gallery_has_grown_and_then_no_more)
{
    const char *engine = engines[0];
    if (gx_served_flat_only())
        return;
    gx_served_begin(&served, DIM, NULL);
    make_rows();
    gx_served_create(&served, "g", engine);
    insert(0, FIRST, engine);
    uint64_t n = FIRST;
    for (; n + PIECE < GROWN; n += PIECE)
        insert(n, PIECE, engine);
    ck_assert_uint_eq(count_growths(), 0);
    gx_served_restart(&served, true); /* the saved index knows what it was trained from */
    gx_served_await_indexed(&served, "g", engine);
    ck_assert_uint_eq(gx_server_log_count(&served.server, "build_started"), 1);
    gx_served_wait_until(is_saved(engine, n));
    ck_assert_uint_eq(trained_from(engine), FIRST);

    insert(n, PIECE, engine);
    n += PIECE;
    gx_served_wait_until(count_growths() == 1);
    gx_served_wait_until(gx_server_log_count(&served.server, "build_done") == 2);
    gx_served_await_indexed(&served, "g", engine);
    insert(n, 50, engine); /* rows are fed only where nothing is to be built */
    n += 50;
    gx_served_restart(&served, true);
    gx_served_wait_until(is_saved(engine, n));
    ck_assert_uint_ge(trained_from(engine), GROWN);
    insert(n, 50, engine);
    ck_assert_uint_eq(gx_server_log_count(&served.server, "build_started"), 2);
    gx_served_end(&served);
    free(rows);
}
END_TEST

int main(void)
{
    const struct gx_served_test tests[] = {
        {no_centroid_is_a_row_and_nothing_stays_of_the_one_that_was_nearest_to_one, ENGINES},
        {index_is_trained_anew_when_the_gallery_has_grown_and_then_no_more, 0},
    };
    return gx_served_run("training", tests, sizeof(tests) / sizeof(tests[0]));
}
