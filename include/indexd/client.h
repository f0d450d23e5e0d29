/* libindexd: the C client of indexd. Synchronous, thread-safe; no third-party type in its interface.
 *
 * Conventions. Every call that can fail returns a status; the text of a thread's last failure is gx_client_error().
 * Out-parameters come last and are set to NULL or zeroes on entry. Text is NUL-terminated UTF-8 without control
 * characters; limits are in limits.h. Times are microseconds since 1970-01-01T00:00:00Z, durations microseconds.
 *
 * Statuses that any call to the server can give, so they are not repeated below: GX_E_UNAVAILABLE (not reachable,
 * stopping, or the gallery is still loading), GX_E_DEADLINE, GX_E_BUSY (at its limit), GX_E_DENIED, GX_E_UNIMPLEMENTED
 * (an older server), GX_E_NOMEM, GX_E_INTERNAL. Calls that may be repeated safely are repeated by the library on
 * GX_E_BUSY and GX_E_UNAVAILABLE, with growing pauses, within the deadline (gx_client_options.retries).
 *
 * Threads: a gx_client may be used by any number of threads at once; a gx_client_stream by one at a time.
 * fork: open the client in the child, not before. */
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

#define GX_CLIENT_SERVER       "127.0.0.1:7600"      /* where a server listens unless told otherwise */
#define GX_CLIENT_DEADLINE_US  INT64_C(30000000)     /* of a call */
#define GX_CLIENT_DEADLINE_MAX INT64_C(604800000000) /* a week */
#define GX_CLIENT_RETRIES      4

typedef struct gx_client gx_client;

/* ---------------------------------------------------------------- connection */

/** How to reach a server. Copied by gx_client_open; zeroed fields have the defaults given. */
struct gx_client_options {
    const char *server;  /**< "HOST:PORT", "[IPV6]:PORT" or "unix:/path"; NULL = GX_CLIENT_SERVER */
    int64_t deadline_us; /**< of each call, retries included: 1..GX_CLIENT_DEADLINE_MAX; 0 = GX_CLIENT_DEADLINE_US */
    int retries;         /**< further tries of a repeatable call: 1..10; 0 = GX_CLIENT_RETRIES, -1 = none */
};

/**
 * Prepares a connection; the first call makes it. Does not block.
 * @param options  borrowed for the call; NULL = all defaults.
 * @param out      the caller's, freed by gx_client_close.
 * @return GX_OK; GX_E_INVALID (an option out of range); GX_E_NOMEM.
 */
GX_API enum gx_status gx_client_open(const struct gx_client_options *options, gx_client **out);

/** Closes it; no call and no stream may be under way. NULL is fine. */
GX_API void gx_client_close(gx_client *client);

/** The text of the calling thread's last failure: one line, says what to do; valid until the thread's next call of this
 *  library; "" when that succeeded; never NULL. Holds no embedding. */
GX_API const char *gx_client_error(void);

/** The library's version, for example "0.1.0"; static storage. */
GX_API const char *gx_client_version(void);

/** 0 unknown service, 1 serving, 2 not serving. @p service NULL = the whole server; "gallery/NAME" = one gallery. */
GX_API enum gx_status gx_client_health(gx_client *client, const char *service, int *out_state);

/* ---------------------------------------------------------------- galleries */

/** A gallery. Text owned by the struct. */
struct gx_client_gallery {
    char name[GX_NAME_MAX + 1], embedder_id[GX_EMBEDDER_MAX + 1], embedder_version[GX_EMBEDDER_MAX + 1];
    char engine[GX_ENGINE_MAX + 1]; /**< as asked for */
    uint32_t dim;
    uint64_t records;
    int64_t created_at_us;
    float default_effort;
};

/**
 * Creates a gallery. Repeatable: the same properties again are GX_OK and change nothing.
 * @param dim              GX_DIM_MIN..GX_DIM_MAX.
 * @param embedder_id      the network whose embeddings it holds, for example "edgeface-xs"; required.
 * @param embedder_version NULL = "".
 * @param engine           NULL = "auto"; else "scan", "hnsw", "flat" or "faiss:<factory>".
 * @param default_effort   0..1 for searches that ask for none; 0 = 0.5.
 * @param out              may be NULL.
 * @return GX_OK; GX_E_INVALID; GX_E_EXISTS (the name is taken by a gallery of other properties); GX_E_FULL.
 */
GX_API enum gx_status gx_client_gallery_create(gx_client *client, const char *name, uint32_t dim,
                                               const char *embedder_id, const char *embedder_version,
                                               const char *engine, float default_effort, struct gx_client_gallery *out);

/** @return GX_OK; GX_E_NOT_FOUND. */
GX_API enum gx_status gx_client_gallery_get(gx_client *client, const char *name, struct gx_client_gallery *out);

/** All galleries by name. @param out_list  malloc'ed [*out_n], the caller's to free(); NULL where there are none. */
GX_API enum gx_status gx_client_gallery_list(gx_client *client, struct gx_client_gallery **out_list, size_t *out_n);

/**
 * Removes a gallery and all its records. Not repeated by the library.
 * @param expected_count  -1 = not given; else the number of records it must hold.
 * @param out_records     how many went; may be NULL.
 * @return GX_OK; GX_E_NOT_FOUND; GX_E_COUNT (it holds another number: nothing was removed); GX_E_HELD (ids of it are
 *         under a legal hold: nothing was removed).
 */
GX_API enum gx_status gx_client_gallery_delete(gx_client *client, const char *name, int64_t expected_count,
                                               uint64_t *out_records);

/** The build of an index, as it stands. */
struct gx_client_build {
    bool running;
    char engine[GX_ENGINE_MAX + 1]; /**< being built */
    char stage[33];                 /**< "training", "adding", "saving" */
    uint64_t rows_done, rows_total;
    char problem[257]; /**< of the last build; "" = none */
};

/** A gallery's inner state. */
struct gx_client_gallery_stats {
    char name[GX_NAME_MAX + 1];
    char engine[GX_ENGINE_MAX + 1]; /**< in use now */
    uint64_t records;               /**< live, quarantined or not */
    uint64_t quarantined;           /**< of them: a legal hold keeps them out of every search */
    uint64_t disk_free_bytes;       /**< of the whole server; enrolment is refused when it gets low */
    uint64_t ballast_bytes; /**< of the whole server: kept for expungements on a full disk; 0 = none, or given up */
    uint64_t indexed;       /**< live records that the engine has taken up */
    uint64_t tail;          /**< live records that are scanned exactly beside it */
    uint64_t dead;          /**< removed records that the engine still holds (never returned) */
    uint64_t epoch;
    uint64_t row_bytes, index_bytes; /**< memory */
    struct gx_client_build build;
    bool loaded;
};

/** @return GX_OK; GX_E_NOT_FOUND. */
GX_API enum gx_status gx_client_gallery_stats(gx_client *client, const char *name, struct gx_client_gallery_stats *out);

/**
 * Has an index built aside and swapped in; searches go on meanwhile. Returns when the work is queued: it is done when
 * gx_client_gallery_stats says build.running = false, and went wrong when build.problem is not empty then.
 * @param engine      NULL = the gallery's own, built anew.
 * @param out_engine  [GX_ENGINE_MAX + 1], the engine being built; may be NULL.
 * @return GX_OK; GX_E_NOT_FOUND; GX_E_INVALID (no such engine); GX_E_STATE (a build is under way).
 */
GX_API enum gx_status gx_client_gallery_build(gx_client *client, const char *name, const char *engine,
                                              char *out_engine);

/** How hard an approximate engine tries; zeroed = the gallery's default effort. */
struct gx_client_tuning {
    bool has_effort;
    float effort;        /**< 0..1 on the engine's own scale, 1 = the most it can do */
    uint32_t nprobe;     /**< IVF engines: lists looked at; 0 = not given */
    uint32_t ef_search;  /**< HNSW engines: width of the beam; 0 = not given */
    uint32_t candidates; /**< rows rescored exactly; 0 = the engine's default */
};                       /* at most one of effort, nprobe, ef_search */

/** Recall of an engine against exact search. */
struct gx_client_recall {
    uint32_t probes; /**< as drawn */
    double recall_at_1, recall_at_10, recall_at_50;
    double mean_us, exact_mean_us; /**< of a search by the engine, and of an exact one */
    char engine[GX_ENGINE_MAX + 1];
    float effort;
};

/**
 * Measures the engine as it stands on probes drawn from the gallery itself, each without its own record. May take
 * minutes on large galleries: have the deadline accordingly. Not repeated by the library.
 * @param probes  1..1000; 0 = 100.
 * @param tuning  NULL = the gallery's default effort.
 * @param seed    of the sample; 0 = 1.
 * @return GX_OK; GX_E_NOT_FOUND; GX_E_INVALID; GX_E_STATE (too few records).
 */
GX_API enum gx_status gx_client_gallery_measure(gx_client *client, const char *name, uint32_t probes,
                                                const struct gx_client_tuning *tuning, uint64_t seed,
                                                struct gx_client_recall *out);

/* ---------------------------------------------------------------- search */

/** One candidate of a search. */
struct gx_client_candidate {
    uint32_t rank;                                  /**< 1 = the highest cosine; equal ones in the order of record_id */
    float cosine;                                   /**< exact, -1..1 */
    int64_t captured_at_us;                         /**< 0 = unknown */
    const char *record_id, *subject_id, *arrest_id; /**< owned by the result; "" = none */
};

/** How a search was carried out. */
struct gx_client_stats {
    const char *engine;
    float effort;
    uint64_t scanned, epoch;
    uint32_t rescored;
    bool exhaustive; /**< no enrolled record that passes the filter can be missing */
};

/** The answer to one probe. */
struct gx_client_answer {
    struct gx_client_candidate *candidates; /**< [n_candidates], best first */
    size_t n_candidates;                    /**< 0..k; fewer than k is not an error */
    struct gx_client_stats stats;
};

/** The answers to one or several probes; freed by gx_client_result_free. */
struct gx_client_result {
    struct gx_client_answer *answers; /**< [n_answers], in the order of the probes */
    size_t n_answers;
    const char *notice; /**< lead-only notice, for display beside the candidates */
};

/** NULL is fine. */
GX_API void gx_client_result_free(struct gx_client_result *result);

/** Options of a search; zeroed = the 50 best of the gallery's default effort. Borrowed for the call. */
struct gx_client_search {
    uint32_t k; /**< 1..GX_K_MAX; 0 = 50 */
    bool has_min_cosine;
    float min_cosine;               /**< -1..1: candidates below are left out */
    bool exact;                     /**< the provably best k, whatever the engine */
    bool group_by_subject;          /**< the best photo of each of the best k subjects */
    struct gx_client_tuning tuning; /**< not together with exact */
    /* Filter: a record must fulfil all that is given. */
    int64_t captured_from_us, captured_until_us;                 /**< inclusive, exclusive; 0 = no bound */
    const char *const *subject_ids;                              /**< [n_subject_ids]: its subject is one of these */
    size_t n_subject_ids;                                        /**< 0 = any subject */
    const char *const *attribute_keys, *const *attribute_values; /**< [n_attributes]: it has each of these */
    size_t n_attributes;
    uint64_t read_after_epoch; /**< the search must see this epoch (of an enrolment or expungement); 0 = any */
};

/**
 * Finds the enrolled photos whose embeddings are closest to each probe.
 * @param embedder_id, embedder_version  what made the probes: the gallery's own, or GX_E_EMBEDDER. Version NULL = "".
 * @param probes   [n_probes][dim] float32, finite, not all zero; normalised by the server; borrowed.
 * @param n_probes 1..GX_BATCH_PROBES_MAX, n_probes x k at most GX_BATCH_RESULTS_MAX.
 * @param search   NULL = defaults.
 * @param out      the caller's, freed by gx_client_result_free.
 * @return GX_OK; GX_E_INVALID (a range, or another dimension than the gallery's); GX_E_NOT_FOUND (no such gallery);
 *         GX_E_EMBEDDER.
 * Blocks up to the deadline. Repeatable. Cosines are exact; which photos are considered is approximate unless
 * stats.exhaustive says otherwise. Candidates are leads for a trained human examiner, not identifications.
 */
GX_API enum gx_status gx_client_search(gx_client *client, const char *gallery, const char *embedder_id,
                                       const char *embedder_version, const float *probes, size_t n_probes, size_t dim,
                                       const struct gx_client_search *search, struct gx_client_result **out);

/* ---------------------------------------------------------------- records */

/** A record to enrol. NULL text = empty. Borrowed for the call. */
struct gx_client_record {
    const char *record_id;               /**< 1..GX_ID_MAX bytes, unique within the gallery */
    const char *subject_id;              /**< the person; may be empty */
    const char *arrest_id;               /**< may be empty */
    int64_t captured_at_us;              /**< 0 = unknown */
    const char *const *attribute_keys;   /**< [n_attributes] */
    const char *const *attribute_values; /**< [n_attributes] */
    size_t n_attributes;                 /**< 0..GX_ATTRIBUTES_MAX */
};

/** Outcome of an enrolment. */
struct gx_client_enrolled {
    uint64_t epoch;     /**< the records are visible from here on */
    uint64_t enrolled;  /**< were new */
    uint64_t unchanged; /**< were there already with the same content */
};

/**
 * Enrols 1..GX_INSERT_MAX records, all or none; durable and visible on return. Repeatable.
 * @param rows       [n][dim] float32, finite, not all zero; borrowed. n x dim x 4 bytes and the records' text must fit
 *                   into GX_MESSAGE_MAX.
 * @param request_id unique to this request; the same again gives the same outcome. NULL = one is made for the retries.
 * @param out        may be NULL.
 * @return GX_OK; GX_E_INVALID; GX_E_NOT_FOUND (gallery); GX_E_EXISTS (a record is enrolled with other content);
 *         GX_E_EMBEDDER; GX_E_EXPUNGED (a record or its arrest was removed by order); GX_E_FULL;
 *         GX_E_TOO_LARGE.
 */
GX_API enum gx_status gx_client_insert(gx_client *client, const char *gallery, const char *embedder_id,
                                       const char *embedder_version, const struct gx_client_record *records,
                                       const float *rows, size_t n, size_t dim, const char *request_id,
                                       struct gx_client_enrolled *out);

/** Enrolment of many records over one connection; one thread at a time.
 *
 *  Holds what is not yet acknowledged (at most GX_STREAM_WINDOW_MAX messages and 64 MiB, or one message). When the
 *  connection breaks, or the server is at its limit, the stream is opened again and goes on after the last acknowledged
 *  message, until nothing has been acknowledged for the client's deadline (retries = -1: not at all). */
typedef struct gx_client_stream gx_client_stream;

/** Opens a stream. Does not block: what is wrong shows at the first sends. @return GX_OK; GX_E_INVALID; GX_E_NOMEM. */
GX_API enum gx_status gx_client_stream_open(gx_client *client, const char *gallery, const char *embedder_id,
                                            const char *embedder_version, gx_client_stream **out);

/**
 * Sends 1..GX_INSERT_MAX records as one message, enrolled all or none, in the order of the sends. Blocks while the
 * window is full, at most the client's deadline without any acknowledgement.
 * @return as gx_client_insert, for this message or one before it: the first that gx_client_stream_acknowledged does not
 *         count. The stream is over then; gx_client_stream_close frees it.
 */
GX_API enum gx_status gx_client_stream_send(gx_client_stream *stream, const struct gx_client_record *records,
                                            const float *rows, size_t n, size_t dim);

/**
 * Waits until at most @p max_pending messages are not acknowledged; 0 = all are durable. Blocks at most the client's
 * deadline without any acknowledgement.
 * @return as gx_client_stream_send.
 */
GX_API enum gx_status gx_client_stream_wait(gx_client_stream *stream, uint64_t max_pending);

/** What has been acknowledged so far, that is, is durable; does not block. Either out-parameter may be NULL. */
GX_API void gx_client_stream_acknowledged(gx_client_stream *stream, uint64_t *out_messages,
                                          struct gx_client_enrolled *out);

/**
 * Waits until everything is acknowledged, then frees the stream, also on failure. NULL is fine.
 * @param out  what was acknowledged, also on failure; may be NULL.
 * @return GX_OK: all messages are durable; otherwise the failure that ended the stream.
 */
GX_API enum gx_status gx_client_stream_close(gx_client_stream *stream, struct gx_client_enrolled *out);

/** Frees the stream at once; what was not acknowledged may be enrolled or not. NULL is fine. */
GX_API void gx_client_stream_abandon(gx_client_stream *stream);

/** A record as it is enrolled. Text owned by the list it is in. */
struct gx_client_stored {
    struct gx_client_record record; /**< text never NULL */
    int64_t enrolled_at_us;
    uint64_t epoch;         /**< of its enrolment */
    bool quarantined;       /**< a legal hold keeps it out of every search */
    const float *embedding; /**< [dim], normalised; NULL unless asked for */
    size_t dim;
};

/** Records; freed by gx_client_records_free. */
struct gx_client_records {
    struct gx_client_stored *records; /**< [n_records] */
    size_t n_records;
    const char *next_page_token; /**< "" = that was the last page */
};

/** NULL is fine. */
GX_API void gx_client_records_free(struct gx_client_records *records);

/**
 * Records by id; unknown ids are left out.
 * @param ids  [n_ids], 1..1000.
 * @return GX_OK; GX_E_NOT_FOUND (no such gallery); GX_E_INVALID.
 */
GX_API enum gx_status gx_client_record_get(gx_client *client, const char *gallery, const char *const *ids, size_t n_ids,
                                           bool with_embedding, struct gx_client_records **out);

/**
 * The records of a gallery in the order of enrolment, a page at a time.
 * @param arrest_id, subject_id  only records of this arrest, or of this subject; NULL = all; not both.
 * @param page_size   1..GX_PAGE_MAX; 0 = 100.
 * @param page_token  next_page_token of the page before; NULL = from the start.
 * @return GX_OK; GX_E_NOT_FOUND (no such gallery); GX_E_INVALID.
 */
GX_API enum gx_status gx_client_record_list(gx_client *client, const char *gallery, const char *arrest_id,
                                            const char *subject_id, uint32_t page_size, const char *page_token,
                                            struct gx_client_records **out);

/* ---------------------------------------------------------------- expungement */

enum gx_client_id_kind { GX_CLIENT_RECORD = 1, GX_CLIENT_ARREST = 2, GX_CLIENT_SUBJECT = 3 };

enum gx_client_ticket_state {
    GX_CLIENT_TICKET_ACCEPTED = 1, /**< durable and out of every search */
    GX_CLIENT_TICKET_ERASED = 2,   /**< no byte left in any file of the data directory, nor in memory */
    GX_CLIENT_TICKET_VERIFIED = 3, /**< the erasure was checked and certified */
    GX_CLIENT_TICKET_FAILED = 4    /**< an alarm: see problem */
};

/** How it was found that nothing is left. */
enum gx_client_verify_method {
    GX_CLIENT_VERIFY_NONE = 0,      /**< not done yet */
    GX_CLIENT_VERIFY_BYTES = 1,     /**< the rows' bytes were looked for in the files */
    GX_CLIENT_VERIFY_STRUCTURAL = 2 /**< no file that can hold them is older than the erasure */
};

/** A removal by order, and what has been reached. Text owned by the struct; times are 0 where not yet. */
struct gx_client_ticket {
    char ticket_id[33], gallery[GX_NAME_MAX + 1], order_ref[GX_ORDER_REF_MAX + 1], problem[257];
    enum gx_client_ticket_state state;
    enum gx_client_id_kind kind;
    uint64_t records; /**< removed by this ticket */
    uint64_t
        unmatched_ids; /**< ids that matched no record; records and arrests of them can't be enrolled later either */
    uint64_t epoch;    /**< searches from this epoch on do not see the records */
    /** When each was a fact, in this order but for unindexed: accepted; zeroed in memory and out of the index; out of
     * the log's memory; out of the table files; the files replaced are gone; all of that; checked. */
    int64_t accepted_at_us, unindexed_at_us, flushed_at_us, compacted_at_us, unlinked_at_us, erased_at_us,
        verified_at_us;
    int64_t failed_at_us;                                     /**< the last attempt that failed */
    int64_t deadline_at_us;                                   /**< when it is to be VERIFIED */
    uint64_t attempts;                                        /**< to erase */
    uint64_t files_rewritten, bytes_rewritten, files_removed; /**< by its erase run */
    enum gx_client_verify_method method;
    uint64_t files_scanned, bytes_scanned, files_left_out;
    uint64_t control_hits; /**< places where the scan found the rows before they were erased */
    uint64_t certificate;  /**< serial number; 0 = none yet */
    uint64_t n_backups;    /**< that may still hold the records; not told in the reply of an expungement */
    char backups[256];     /**< their ids with a space between, as many as fit */
};

/**
 * Removes records by order. Durable and out of every search on return, through any crash; what else has been reached
 * says out->state. Repeatable.
 * @param kind           what the ids are.
 * @param ids            [n_ids], distinct; 1..GX_EXPUNGE_IDS_MAX.
 * @param order_ref      the order under which this happens, 1..GX_ORDER_REF_MAX bytes; no personal data.
 * @param expected_count -1 = not given; else the number of records that must go.
 * @param validate_only  count only, change nothing: *out has records, unmatched_ids and epoch, but no ticket_id, unless
 *                       the request of this request_id was carried out before.
 * @param request_id     NULL = one is made for the retries. The same id with the same ids and order_ref changes
 * nothing, and gives the ticket that was made then; remembered for 24 hours.
 * @return GX_OK; GX_E_INVALID; GX_E_NOT_FOUND (no such gallery); GX_E_COUNT (another number would go: nothing went);
 *         GX_E_HELD (an id, or a record that it means, is under a legal hold, whose reference is told: nothing went);
 *         GX_E_EXISTS (the request_id of another order); GX_E_FULL.
 */
GX_API enum gx_status gx_client_expunge(gx_client *client, const char *gallery, enum gx_client_id_kind kind,
                                        const char *const *ids, size_t n_ids, const char *order_ref,
                                        int64_t expected_count, bool validate_only, const char *request_id,
                                        struct gx_client_ticket *out);

/** What an order means to one of its ids. */
struct gx_client_outcome {
    uint64_t records;     /**< that went by this id, or would go; 0 where the order was carried out before */
    bool expunged_before; /**< an earlier order, or this one before, removed or barred it; never true of subjects */
    const char *hold_ref; /**< the legal hold in the way, owned by the expunged; "" = none */
};

/** An order and its outcome for each id; freed by gx_client_expunged_free. */
struct gx_client_expunged {
    struct gx_client_ticket ticket;     /**< as from gx_client_expunge */
    struct gx_client_outcome *outcomes; /**< [n_outcomes], of the ids in their order */
    size_t n_outcomes;
};

/** NULL is fine. */
GX_API void gx_client_expunged_free(struct gx_client_expunged *expunged);

/**
 * gx_client_expunge with the outcome for each id. With validate_only nothing is refused for a legal hold: hold_ref says
 * what is held.
 * @param out  the caller's, freed by gx_client_expunged_free.
 */
GX_API enum gx_status gx_client_expunge_list(gx_client *client, const char *gallery, enum gx_client_id_kind kind,
                                             const char *const *ids, size_t n_ids, const char *order_ref,
                                             int64_t expected_count, bool validate_only, const char *request_id,
                                             struct gx_client_expunged **out);

/** @p ticket_id may be that of @p out. @return GX_OK; GX_E_NOT_FOUND. */
GX_API enum gx_status gx_client_ticket_get(gx_client *client, const char *ticket_id, struct gx_client_ticket *out);

/** Tickets; freed by gx_client_tickets_free. */
struct gx_client_tickets {
    struct gx_client_ticket *tickets; /**< [n_tickets] */
    size_t n_tickets;
    const char *next_page_token; /**< "" = that was the last page */
};

/** NULL is fine. */
GX_API void gx_client_tickets_free(struct gx_client_tickets *tickets);

/**
 * Tickets, newest first, a page at a time.
 * @param gallery     NULL = of all galleries.
 * @param page_size   1..GX_PAGE_MAX; 0 = 100.
 * @param page_token  next_page_token of the page before; NULL = from the start.
 */
GX_API enum gx_status gx_client_ticket_list(gx_client *client, const char *gallery, uint32_t page_size,
                                            const char *page_token, struct gx_client_tickets **out);

/** Told of a ticket; false = enough. @p ticket is borrowed for the call, which must not close the client. */
typedef bool gx_client_on_ticket(void *user, const struct gx_client_ticket *ticket);

/**
 * Calls @p on_ticket with the ticket as it is now and at each change of its state, on this thread, until the last state
 * that the server can reach, or until it returns false. A broken connection is made again.
 * @param wait_us  how long to wait in all: 1..GX_CLIENT_DEADLINE_MAX; 0 = the client's deadline.
 * @return GX_OK; GX_E_NOT_FOUND; GX_E_DEADLINE (not there yet).
 */
GX_API enum gx_status gx_client_ticket_watch(gx_client *client, const char *ticket_id, int64_t wait_us,
                                             gx_client_on_ticket *on_ticket, void *user);

/* ---------------------------------------------------------------- is it gone? */

#define GX_CLIENT_HITS_MAX 8

/** Where a record or a face was looked for, and what was found. Text owned by the struct. */
struct gx_client_absence {
    bool absent;           /**< found nowhere that was looked at */
    bool searchable;       /**< a search may return it: the record, or a row that is the probe's but for rounding */
    bool stored;           /**< the store has the record, quarantined or not; of a face: as searchable */
    bool expunged;         /**< of a record: an order removed or barred it */
    bool has_nearest;      /**< of a face: the gallery holds something, … */
    double nearest_cosine; /**< … and this is the nearest, by exact search */
    bool files_searched;   /**< false: note says why not */
    char note[257];
    uint64_t files, bytes; /**< looked at in the server's data directory */
    uint64_t hits;         /**< places where it stands */
    size_t n_first;
    struct {
        char file[257]; /**< relative to the data directory */
        uint64_t offset;
    } first[GX_CLIENT_HITS_MAX];
    uint64_t epoch;
    int64_t checked_at_us;
};

/**
 * Looks for a record in the server's search, store and files. The id's bytes are looked for where it has at least 8; of
 * places where it is a part of another record none counts. Reads all files of the data directory: have the deadline
 * accordingly. Not repeated by the library.
 * @return GX_OK, whatever was found; GX_E_NOT_FOUND (gallery); GX_E_INVALID; GX_E_STATE (the files did not stand
 * still); GX_E_IO (a file cannot be read); GX_E_BUSY (another check is running).
 */
GX_API enum gx_status gx_client_absent_record(gx_client *client, const char *gallery, const char *record_id,
                                              struct gx_client_absence *out);

/**
 * The same for a face: of the stored form of its embedding any 64 bytes in a row are looked for. Backups, and what
 * other programs keep, are not looked at; what other galleries hold of the same photo is found.
 * @param row  [dim] float32, finite, not all zero: the embedding as it was enrolled, or as gx_client_record_get gives
 * it; borrowed.
 * @return as gx_client_absent_record; GX_E_EMBEDDER.
 */
GX_API enum gx_status gx_client_absent_face(gx_client *client, const char *gallery, const char *embedder_id,
                                            const char *embedder_version, const float *row, size_t dim,
                                            struct gx_client_absence *out);

/* ---------------------------------------------------------------- certificates */

#define GX_CLIENT_CERTIFICATE_MAX (4u << 20) /* bytes of one that is read */

/**
 * The certificate of a ticket that is VERIFIED, and the server's public key. Keep the bytes as they are: they are the
 * file that is signed.
 * @param ticket_id        NULL = the public key only.
 * @param out_certificate  malloc'ed [*out_len], the caller's to free(); may be NULL without a ticket, as may out_len.
 * @param out_public_key   PEM text, malloc'ed, the caller's to free(); may be NULL.
 * @return GX_OK; GX_E_NOT_FOUND (no such ticket); GX_E_STATE (it has none yet).
 */
GX_API enum gx_status gx_client_certificate_get(gx_client *client, const char *ticket_id, void **out_certificate,
                                                size_t *out_len, char **out_public_key);

/** A backup that still held the records. Times as in struct gx_client_certificate. */
struct gx_client_backup {
    const char *id, *created;
    const char *expires; /**< "" = never by itself */
};

/** What a certificate states; schemas/FORMAT.md explains each field. Text owned by it, never NULL. Times are RFC 3339
 *  in UTC, "" where there was nothing to do; digests, hashes and the signature are hexadecimal. */
struct gx_client_certificate {
    bool checked;    /**< the signature was checked, and holds */
    char digest[65]; /**< SHA-256 of the certificate's file */
    char signature[129];
    uint64_t serial;
    const char *previous; /**< SHA-256 of the certificate before it; 64 zeros for the first */
    const char *key;      /**< SHA-256 of the public key */
    const char *store, *server;
    const char *ticket_id, *gallery, *order_ref;
    enum gx_client_id_kind kind;
    uint64_t ids, unmatched_ids, records;
    const char *const *named; /**< [ids] keyed hashes of the ids in the order */
    const char *const *record_hashes;
    size_t n_record_hashes; /**< 0 where there are too many */
    const char *records_sha256;
    const char *accepted, *unindexed, *flushed, *compacted, *unlinked, *erased, *verified;
    uint64_t attempts, files_rewritten, bytes_rewritten, files_removed;
    const char *method; /**< "bytes" or "structural" */
    const char *reason; /**< of a structural check */
    uint64_t files_scanned, bytes_scanned, files_left_out, control_hits;
    const char *const *covers, *const *excludes;
    size_t n_covers, n_excludes;
    const struct gx_client_backup *backups;
    size_t n_backups;
};

/** NULL is fine. */
GX_API void gx_client_certificate_free(struct gx_client_certificate *certificate);

/**
 * Checks a certificate, offline: that its form is the only one allowed, that it was signed with @p public_key, and that
 * no bit of it has been changed.
 * @param bytes       [len], the file.
 * @param public_key  [public_key_len], PEM: the file certificate.pub that was handed over when the server was set up.
 * @param out         what it states; may be NULL.
 * @return GX_OK; GX_E_CORRUPT (it is no such certificate, was changed, or is of another key); GX_E_FORMAT (of a newer
 *         version); GX_E_INVALID (no Ed25519 public key in PEM).
 */
GX_API enum gx_status gx_client_certificate_verify(const void *bytes, size_t len, const void *public_key,
                                                   size_t public_key_len, struct gx_client_certificate **out);

/** Reads a certificate WITHOUT checking its signature (out->checked is false): anybody may have written it.
 *  @return as gx_client_certificate_verify. */
GX_API enum gx_status gx_client_certificate_read(const void *bytes, size_t len, struct gx_client_certificate **out);

/** Is @p certificate the one after @p previous in the chain of the same store? @return GX_OK; GX_E_CORRUPT. */
GX_API enum gx_status gx_client_certificate_follows(const struct gx_client_certificate *certificate,
                                                    const struct gx_client_certificate *previous);

/** A page for people, as it goes into a file of the court: what was removed, under which order, when each stage was
 *  reached, how it was checked, what that covers and what not, and how to check the signature.
 *  @param out_text  malloc'ed, the caller's to free(); UTF-8, lines of at most 80 characters. */
GX_API enum gx_status gx_client_certificate_text(const struct gx_client_certificate *certificate, char **out_text);

/* ---------------------------------------------------------------- legal holds */

/** What came of a change of holds. */
struct gx_client_hold_change {
    uint64_t ids;           /**< placed or put into quarantine; or released */
    uint64_t unchanged_ids; /**< were held like this before */
    uint64_t records;       /**< enrolled records that the ids mean */
    uint64_t epoch;         /**< searches from this epoch on see the change */
};

/**
 * Holds records or arrests, enrolled or not, so that no order can remove them until they are released; in force and on
 * disk on return. All ids or none. Repeatable.
 * @param kind        GX_CLIENT_RECORD or GX_CLIENT_ARREST.
 * @param ids         [n_ids], distinct; 1..GX_EXPUNGE_IDS_MAX, which is also the most for one reference.
 * @param reference   what the hold is known by, 1..GX_ORDER_REF_MAX bytes; no personal data.
 * @param quarantine  out of every search as well; the bytes are kept.
 * @param request_id  NULL = one is made for the retries.
 * @param out         may be NULL.
 * @return GX_OK; GX_E_INVALID; GX_E_NOT_FOUND (no such gallery); GX_E_EXPUNGED (an id was expunged); GX_E_EXISTS (an id
 *         is in quarantine under this reference, and this call is without); GX_E_TOO_LARGE; GX_E_FULL.
 */
GX_API enum gx_status gx_client_hold_place(gx_client *client, const char *gallery, enum gx_client_id_kind kind,
                                           const char *const *ids, size_t n_ids, const char *reference, bool quarantine,
                                           const char *request_id, struct gx_client_hold_change *out);

/**
 * Ends holds. What another hold covers stays held, or quarantined. All ids or none. Repeatable.
 * @param ids  [n_ids]; n_ids 0 = all of the kind under the reference.
 * @param out  may be NULL.
 * @return GX_OK; GX_E_INVALID; GX_E_NOT_FOUND (no such gallery, or an id is not held under this reference); GX_E_FULL.
 */
GX_API enum gx_status gx_client_hold_release(gx_client *client, const char *gallery, enum gx_client_id_kind kind,
                                             const char *const *ids, size_t n_ids, const char *reference,
                                             const char *request_id, struct gx_client_hold_change *out);

/** One id under one reference. Text owned by the struct. */
struct gx_client_hold {
    char reference[GX_ORDER_REF_MAX + 1];
    char id[GX_ID_MAX + 1]; /**< "" = nothing of it is enrolled: the server keeps keyed hashes of held ids only */
    char id_hash[33];       /**< hexadecimal */
    enum gx_client_id_kind kind;
    bool quarantine;
    int64_t placed_at_us;
    uint64_t records; /**< enrolled records that it means */
};

/** Holds; freed by gx_client_holds_free. */
struct gx_client_holds {
    struct gx_client_hold *holds; /**< [n_holds] */
    size_t n_holds;
    const char *next_page_token; /**< "" = that was the last page */
};

/** NULL is fine. */
GX_API void gx_client_holds_free(struct gx_client_holds *holds);

/**
 * Holds of a gallery in the order of placing, a page at a time.
 * @param reference   only what is held under it; NULL = any.
 * @param kind, id    only holds on this id; id NULL = on any.
 * @param page_size   1..GX_PAGE_MAX; 0 = 100.
 * @param page_token  next_page_token of the page before; NULL = from the start.
 * @return GX_OK; GX_E_NOT_FOUND (no such gallery); GX_E_INVALID.
 */
GX_API enum gx_status gx_client_hold_list(gx_client *client, const char *gallery, const char *reference,
                                          enum gx_client_id_kind kind, const char *id, uint32_t page_size,
                                          const char *page_token, struct gx_client_holds **out);

/* ---------------------------------------------------------------- backups */

enum gx_client_backup_state {
    GX_CLIENT_BACKUP_UNFINISHED = 1, /**< interrupted, or its disk is not there: there may be something of it */
    GX_CLIENT_BACKUP_COMPLETE = 2,
    GX_CLIENT_BACKUP_GONE = 3,    /**< deleted */
    GX_CLIENT_BACKUP_RUNNING = 4, /**< being made */
    GX_CLIENT_BACKUP_EXPIRED = 5  /**< past its time, but not where the server could delete it */
};

/** A copy of the whole data directory. Text owned by the struct; times are 0 where not yet, or never. */
struct gx_client_backup_info {
    char backup_id[33];
    enum gx_client_backup_state state;
    char directory[GX_BACKUP_DIR_MAX + 1]; /**< on the server, where it was made */
    int64_t created_at_us, expires_at_us, gone_at_us;
    uint64_t files, bytes, epoch;
};

/** Told how far a backup is; @p stage is borrowed for the call. False = break it off. */
typedef bool gx_client_on_backup(void *user, const char *stage, uint64_t bytes_done, uint64_t bytes_total);

/**
 * Makes a backup on the server, which goes on serving; durable and whole on GX_OK. On any failure, and when it is
 * broken off, the server removes what there is of it.
 * @param directory     absolute path on the server; must not exist, nor be in its data directory.
 * @param expires_in_s  when the server deletes it; 0 = never.
 * @param on_progress   may be NULL. The client's deadline is the longest time without any news.
 * @return GX_OK; GX_E_INVALID; GX_E_EXISTS; GX_E_STATE (another one is being made); GX_E_UNAVAILABLE (an erasure could
 *         not wait any longer: start again); GX_E_CANCELLED; GX_E_FULL; GX_E_DEADLINE.
 */
GX_API enum gx_status gx_client_backup_create(gx_client *client, const char *directory, uint64_t expires_in_s,
                                              gx_client_on_backup *on_progress, void *user,
                                              struct gx_client_backup_info *out);

/** The backups, newest first. @param with_gone also those that are deleted. @param out malloc'ed [*out_n], the caller's
 *  to free(). */
GX_API enum gx_status gx_client_backup_list(gx_client *client, bool with_gone, struct gx_client_backup_info **out,
                                            size_t *out_n);

/**
 * Deletes a backup: its files, and that tickets name it.
 * @param files_are_gone  the caller vouches for that its files were destroyed where they had been moved to.
 * @return GX_OK; GX_E_NOT_FOUND; GX_E_STATE (it is being made, or is not where it was made).
 */
GX_API enum gx_status gx_client_backup_delete(gx_client *client, const char *backup_id, bool files_are_gone,
                                              struct gx_client_backup_info *out);

#ifdef __cplusplus
}
#endif
#endif
