/* Galleries of synthetic people at a real server, seen through the client library. Asserts with Check.
 *
 * Row i of the people is record "photo-<i>" of its subject and arrest, captured at (i + 1) seconds, with the attribute
 * site = even or odd. The embedder is "e" "1". As server.h: inside one forked test, from its main thread (but what
 * takes a gx_client may be called from any). */
#ifndef GX_SERVED_H
#define GX_SERVED_H

#include <check.h>

#include "indexd/client.h"
#include "people.h"
#include "server.h"

#define GX_SERVED_SEED     7
#define GX_SERVED_ROWS     10000 /* of the people */
#define GX_SERVED_EMBEDDER "e", "1"

/* A setting for tests that read the whole data directory again and again: 128 MiB less of it. */
#define GX_SERVED_NO_BALLAST "[store]\nballast = 0\n"

struct gx_served {
    struct gx_server server;
    gx_client *client; /* without retries; a minute per call */
    struct gx_people people;
};

/* Fails the test with the client's text unless the call is GX_OK. */
#define gx_served_ok(call)                                                                                             \
    do {                                                                                                               \
        enum gx_status gx_served_status_ = (call);                                                                     \
        ck_assert_msg(gx_served_status_ == GX_OK, "%s: %d %s", #call, (int)gx_served_status_, gx_client_error());      \
    } while (0)

/* Fails unless the call is refused with @status, in one line. */
#define gx_served_refused(call, status)                                                                                \
    do {                                                                                                               \
        enum gx_status gx_served_status_ = (call);                                                                     \
        ck_assert_msg(gx_served_status_ == (status), "%s: %d %s", #call, (int)gx_served_status_, gx_client_error());   \
        ck_assert(gx_client_error()[0] != '\0' && strchr(gx_client_error(), '\n') == NULL);                            \
    } while (0)

/* Waits until the condition holds, asking every few milliseconds; fails the test after two minutes. */
#define gx_served_wait_until(condition)                                                                                \
    do {                                                                                                               \
        int gx_served_left_ = 60000;                                                                                   \
        while (!(condition)) {                                                                                         \
            ck_assert_msg(gx_served_left_-- > 0, "never came true: %s", #condition);                                   \
            gx_served_breathe();                                                                                       \
        }                                                                                                              \
    } while (0)
void gx_served_breathe(void);

/* Starts a server with a client; @settings (NULL = none) go into its configuration file. */
void gx_served_begin(struct gx_served *served, uint32_t dim, const char *settings);
void gx_served_connect(struct gx_served *served); /* anew, after a start of the server */
void gx_served_restart(struct gx_served *served, bool orderly);
void gx_served_end(struct gx_served *served);
gx_client *gx_served_open_client(const struct gx_served *served, int64_t deadline_us);

void gx_served_create(struct gx_served *served, const char *gallery, const char *engine);

/* Rows [first, first + n) as records; freed as one block with gx_served_free_batch. */
struct gx_served_batch {
    struct gx_client_record *records;
    float *rows;
    size_t n;
    void *memory;
};
void gx_served_make_batch(const struct gx_people *people, uint64_t first, size_t n, struct gx_served_batch *out);
void gx_served_free_batch(struct gx_served_batch *batch);

enum gx_status gx_served_insert(gx_client *client, const struct gx_people *people, const char *gallery, uint64_t first,
                                size_t n, const char *request_id, struct gx_client_enrolled *out);
/* All of [0, n), a thousand at a time; asserts success. */
void gx_served_fill(struct gx_served *served, const char *gallery, uint64_t n);

/* Waits until the engine that answers has taken up every row, and is @engine (NULL: whichever). */
void gx_served_await_indexed(struct gx_served *served, const char *gallery, const char *engine);
struct gx_client_gallery_stats gx_served_stats(struct gx_served *served, const char *gallery);

/* A search with the embedding of row @row as the probe. @search NULL = defaults. */
enum gx_status gx_served_search(gx_client *client, const struct gx_people *people, const char *gallery, uint64_t row,
                                const struct gx_client_search *search, struct gx_client_result **out);
/* Is row @row among the @k best for its own embedding? */
bool gx_served_finds(struct gx_served *served, const char *gallery, uint64_t row, uint32_t k);
bool gx_served_has(struct gx_served *served, const char *gallery, uint64_t row);
uint64_t gx_served_records(struct gx_served *served, const char *gallery);

/* Expunges the arrest of row @row; its rows are [*out_first, *out_first + *out_n). */
void gx_served_expunge_arrest(struct gx_served *served, const char *gallery, uint64_t row, uint64_t *out_first,
                              uint64_t *out_n, struct gx_client_ticket *out);
void gx_served_arrest_of(const struct gx_people *people, uint64_t row, char out_id[GX_PEOPLE_ID_MAX],
                         uint64_t *out_first, uint64_t *out_n);
/* Waits until it is VERIFIED; fails when it is FAILED meanwhile. The ticket as it is then. */
struct gx_client_ticket gx_served_await_verified(struct gx_served *served, const char *ticket_id);

/* Fails when the candidate's score is not the cosine of the embedding of row @probe and its own, within 1e-6. */
void gx_served_check_cosine(const struct gx_people *people, uint64_t probe,
                            const struct gx_client_candidate *candidate);

/* The number in "photo-<i>". */
uint64_t gx_served_row_of(const char *record_id);

/* True under ThreadSanitizer, which sees through the flat engine only. */
bool gx_served_flat_only(void);

/* The main of a test program: every test in a process of its own. */
struct gx_served_test {
    const TTest *test;
    int loops; /* 0 = once; else _i runs over [0, loops) */
};
int gx_served_run(const char *name, const struct gx_served_test *tests, size_t n_tests);

#endif
