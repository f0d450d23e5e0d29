/* What programs that measure a running server share: a gallery of synthetic people, durations, one JSON line a figure.
 * Whatever fails ends the program: it says what on the standard error, and exits with 1. */
#ifndef GX_MEASURE_H
#define GX_MEASURE_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "indexd/client.h"
#include "people.h"

#define GX_MEASURE_EMBEDDER "e", "1"
#define GX_MEASURE_BATCH    500 /* records of a struct gx_measure_batch */

/* What is measured; constant once the threads run. The text is borrowed. */
struct gx_measure {
    const char *program; /* for what goes wrong */
    const char *server, *gallery, *engine;
    uint64_t rows, seed;
    uint32_t dim;
    struct gx_people people;
};

_Noreturn void gx_measure_die(const struct gx_measure *m, const char *what, const char *why);
/* Zeroed, the caller's to free(). */
void *gx_measure_alloc(const struct gx_measure *m, size_t n, size_t size);
void gx_measure_pause(int64_t us);
double gx_measure_since(int64_t start_us); /* monotonic; in seconds */
/* Without retries; each call may take half an hour. The caller's, freed by gx_client_close. */
gx_client *gx_measure_connect(const struct gx_measure *m);

/* Prints one line: what every figure has, then @figures, which are taken. */
void gx_measure_report(const struct gx_measure *m, const char *what, json_t *figures);

/* Durations. Zeroed = empty; free(us). */
struct gx_measure_series {
    double *us;
    size_t n, max;
};
void gx_measure_add(const struct gx_measure *m, struct gx_measure_series *series, double us);
/* Sorts them. 0 of none; 100 = the longest. */
double gx_measure_quantile(struct gx_measure_series *series, unsigned percent);
json_t *gx_measure_distribution(struct gx_measure_series *series);

/* Records with their rows, as messages need them. The caller's, freed by gx_measure_batch_free. */
struct gx_measure_batch {
    struct gx_client_record records[GX_MEASURE_BATCH];
    char ids[GX_MEASURE_BATCH][3][GX_PEOPLE_ID_MAX];
    float *rows;
};
struct gx_measure_batch *gx_measure_batch_new(const struct gx_measure *m);
void gx_measure_batch_free(struct gx_measure_batch *batch);
/* Rows [@first, @first + @n) of the people; @n up to GX_MEASURE_BATCH. */
void gx_measure_batch_fill(const struct gx_measure *m, struct gx_measure_batch *batch, uint64_t first, size_t n);

struct gx_client_gallery_stats gx_measure_stats(const struct gx_measure *m, gx_client *client);
/* Makes the gallery, which must not hold records, and enrols all rows through one stream; waits for the index.
 * Reports @what. */
void gx_measure_fill_gallery(const struct gx_measure *m, gx_client *client, const char *what);

/* Waits until all tickets of the gallery are VERIFIED, and reports as @what how long that took, how many there are, how
 * many FAILED at some time, and how many were proven by bytes. False: one FAILED, or half an hour was not enough. */
bool gx_measure_wait_verified(const struct gx_measure *m, gx_client *client, const char *what);

#endif
