/* libindexd: the C client of indexd. Synchronous, thread-safe; no third-party type in its interface.
 *
 * Every call returns a status; on failure the client's own text is in gx_client_error() of the thread that called. */
#ifndef INDEXD_CLIENT_H
#define INDEXD_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "limits.h"
#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define GX_API __attribute__((visibility("default")))

typedef struct gx_client gx_client;

/** How to reach a server. Copied by gx_client_open; zeroed fields have the defaults given. */
struct gx_client_options {
    const char *server;  /**< "HOST:PORT" or "unix:/path"; NULL = "127.0.0.1:7600" */
    int64_t deadline_us; /**< per call; 0 = 30 s, -1 = none */
    unsigned retries;    /**< further tries of idempotent calls that came back BUSY or UNAVAILABLE; at most 10 */
};

/**
 * Prepares a connection; the first call makes it. Blocks not at all.
 * @param options  borrowed for the call; NULL = all defaults.
 * @param out      the caller's, freed by gx_client_close.
 * @return GX_OK; GX_E_INVALID (an option out of range); GX_E_NOMEM.
 */
GX_API enum gx_status gx_client_open(const struct gx_client_options *options, gx_client **out);

/** Closes it; no call may be under way. NULL is fine. */
GX_API void gx_client_close(gx_client *client);

/** The text of the calling thread's last failure: one line, what to do; valid until its next call; never NULL. */
GX_API const char *gx_client_error(void);

/** A record to enrol. Text is NUL-terminated UTF-8; NULL = empty. Borrowed for the call. */
struct gx_client_record {
    const char *record_id;               /**< 1..GX_ID_MAX bytes */
    const char *subject_id;              /**< may be empty */
    const char *arrest_id;               /**< may be empty */
    int64_t captured_at_us;              /**< since 1970 UTC; 0 = unknown */
    const char *const *attribute_keys;   /**< [n_attributes] */
    const char *const *attribute_values; /**< [n_attributes] */
    size_t n_attributes;                 /**< 0..GX_ATTRIBUTES_MAX */
};

/** One candidate of a search. */
struct gx_client_candidate {
    uint32_t rank;
    float cosine; /**< exact, -1..1 */
    int64_t captured_at_us;
    const char *record_id, *subject_id, *arrest_id; /**< owned by the result */
};

/** How a search was carried out. */
struct gx_client_stats {
    const char *engine;
    float effort;
    uint64_t scanned, epoch;
    uint32_t rescored;
    bool exhaustive;
};

/** The answer to one or several probes; freed by gx_client_result_free. */
struct gx_client_answer {
    struct gx_client_candidate *candidates;
    size_t n_candidates;
    struct gx_client_stats stats;
};
struct gx_client_result {
    struct gx_client_answer *answers; /**< [n_answers], in the order of the probes */
    size_t n_answers;
    const char *notice; /**< lead-only notice */
};
GX_API void gx_client_result_free(struct gx_client_result *result);

/** Options of a search; zeroed = the 50 best of the gallery's default effort. */
struct gx_client_search {
    uint32_t k; /**< 1..GX_K_MAX; 0 = 50 */
    bool has_min_cosine;
    float min_cosine;
    bool exact, group_by_subject;
    bool has_effort;
    float effort;                           /**< 0..1 */
    uint32_t nprobe, ef_search, candidates; /**< 0 = not given; at most one of effort, nprobe, ef_search */
    int64_t captured_from_us, captured_until_us;
    const char *const *subject_ids;
    size_t n_subject_ids;
    const char *const *attribute_keys, *const *attribute_values;
    size_t n_attributes;
    uint64_t read_after_epoch;
};

/**
 * Finds the enrolled photos whose embeddings are closest to each probe.
 * @param probes   [n_probes][dim] float32, finite, not all zero; normalised by the server; borrowed.
 * @param n_probes 1..GX_BATCH_PROBES_MAX, n_probes x k at most GX_BATCH_RESULTS_MAX.
 * @param search   NULL = defaults.
 * @param out      the caller's, freed by gx_client_result_free.
 * @return GX_OK; GX_E_INVALID; GX_E_NOT_FOUND (gallery); GX_E_EMBEDDER; GX_E_BUSY; GX_E_UNAVAILABLE; GX_E_DEADLINE.
 * Blocks up to the deadline. Idempotent, so it is retried. Candidates are leads, not identifications.
 */
GX_API enum gx_status gx_client_search(gx_client *client, const char *gallery, const char *embedder_id,
                                       const char *embedder_version, const float *probes, size_t n_probes, size_t dim,
                                       const struct gx_client_search *search, struct gx_client_result **out);

/** Outcome of an enrolment. */
struct gx_client_enrolled {
    uint64_t epoch;
    uint64_t enrolled, unchanged;
};

/**
 * Enrols 1..GX_INSERT_MAX records, all or none; durable and visible on return.
 * @param rows       [n][dim] float32; borrowed.
 * @param request_id NULL = one is made, so that retries are idempotent.
 * @return GX_OK; GX_E_INVALID; GX_E_NOT_FOUND; GX_E_EXISTS; GX_E_EMBEDDER; GX_E_EXPUNGED; GX_E_BUSY; GX_E_FULL; …
 */
GX_API enum gx_status gx_client_insert(gx_client *client, const char *gallery, const char *embedder_id,
                                       const char *embedder_version, const struct gx_client_record *records,
                                       const float *rows, size_t n, size_t dim, const char *request_id,
                                       struct gx_client_enrolled *out);

/** A stream of enrolments; one thread at a time. */
typedef struct gx_client_stream gx_client_stream;

/** Opens it; up to GX_STREAM_WINDOW_MAX sends may be unacknowledged, then send waits for acknowledgements. */
GX_API enum gx_status gx_client_stream_open(gx_client *client, const char *gallery, const char *embedder_id,
                                            const char *embedder_version, gx_client_stream **out);
/** Sends 1..GX_INSERT_MAX records as one atomic message. A failure ends the stream (gx_client_stream_close frees it).
 */
GX_API enum gx_status gx_client_stream_send(gx_client_stream *stream, const struct gx_client_record *records,
                                            const float *rows, size_t n, size_t dim);
/** What has been acknowledged so far (durable); does not wait. */
GX_API void gx_client_stream_acknowledged(gx_client_stream *stream, uint64_t *out_messages,
                                          struct gx_client_enrolled *out);
/** Half-closes, waits for the last acknowledgement, frees. @out may be NULL. */
GX_API enum gx_status gx_client_stream_close(gx_client_stream *stream, struct gx_client_enrolled *out);

/** A gallery. Text owned by the struct. */
struct gx_client_gallery {
    char name[GX_NAME_MAX + 1], embedder_id[GX_EMBEDDER_MAX + 1], embedder_version[GX_EMBEDDER_MAX + 1];
    char engine[GX_ENGINE_MAX + 1];
    uint32_t dim;
    uint64_t records;
    int64_t created_at_us;
    float default_effort;
};

GX_API enum gx_status gx_client_gallery_create(gx_client *client, const char *name, uint32_t dim,
                                               const char *embedder_id, const char *embedder_version,
                                               const char *engine, struct gx_client_gallery *out);
GX_API enum gx_status gx_client_gallery_get(gx_client *client, const char *name, struct gx_client_gallery *out);
/** @param out_list  malloc'ed [*out_n], the caller's to free(). */
GX_API enum gx_status gx_client_gallery_list(gx_client *client, struct gx_client_gallery **out_list, size_t *out_n);
/** @param expected_count  -1 = not given; else the number of records it must hold (GX_E_COUNT). */
GX_API enum gx_status gx_client_gallery_delete(gx_client *client, const char *name, int64_t expected_count,
                                               uint64_t *out_records);

enum gx_client_id_kind { GX_CLIENT_RECORD = 1, GX_CLIENT_ARREST = 2, GX_CLIENT_SUBJECT = 3 };
enum gx_client_ticket_state {
    GX_CLIENT_TICKET_ACCEPTED = 1,
    GX_CLIENT_TICKET_ERASED = 2,
    GX_CLIENT_TICKET_VERIFIED = 3,
    GX_CLIENT_TICKET_FAILED = 4
};

/** A removal by order, and what has been reached. Times in microseconds since 1970 UTC, 0 = not yet. */
struct gx_client_ticket {
    char ticket_id[25], gallery[GX_NAME_MAX + 1], order_ref[GX_ORDER_REF_MAX + 1], problem[257];
    enum gx_client_ticket_state state;
    enum gx_client_id_kind kind;
    uint64_t records, unmatched_ids, epoch;
    int64_t accepted_at_us, unindexed_at_us, erased_at_us, verified_at_us;
};

/**
 * Removes records by order. Durable and out of every search on return; see gx_client_ticket for what else was reached.
 * @param ids            [n_ids] of @p kind, distinct; 1..GX_EXPUNGE_IDS_MAX.
 * @param expected_count -1 = not given; otherwise another number of matching records is GX_E_COUNT and changes nothing.
 * @param validate_only  count only; *out has no ticket_id then, records and unmatched_ids are set.
 * @param request_id     NULL = one is made, so that retries are idempotent.
 */
GX_API enum gx_status gx_client_expunge(gx_client *client, const char *gallery, enum gx_client_id_kind kind,
                                        const char *const *ids, size_t n_ids, const char *order_ref,
                                        int64_t expected_count, bool validate_only, const char *request_id,
                                        struct gx_client_ticket *out);
GX_API enum gx_status gx_client_ticket_get(gx_client *client, const char *ticket_id, struct gx_client_ticket *out);

/** 0 unknown service, 1 serving, 2 not serving. @p service NULL = the whole server; "gallery/NAME". */
GX_API enum gx_status gx_client_health(gx_client *client, const char *service, int *out_state);

#ifdef __cplusplus
}
#endif
#endif
