/* What the files of floor 3 share, and nobody else includes. */
#ifndef GX_GALLERY_PRIVATE_H
#define GX_GALLERY_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "datadir.h"
#include "engine.h"
#include "expunge.h"
#include "galleries.h"
#include "ledger.h"
#include "store.h"

/* An engine with what the gallery knows of it. */
struct gx_index {
    struct gx_engine *engine; /* NULL: nothing is indexed, all rows are scanned */
    uint32_t until;           /* slots below were offered to the engine; [until, count) is the tail */
    uint64_t removed_upto;    /* removals (their serial) that it was told of */
    uint64_t clean_upto;      /* removals of which nothing is left in it: behind when the engine cannot remove */
    uint64_t dead;            /* entries that are removed and still inside; as last counted */
    uint64_t trained_from;    /* live rows of the gallery when its training sample was drawn from them */
};

/* One gallery. Counted: the registry holds one reference, every caller in flight another. */
struct gx_gallery {
    struct gx_gallery_meta meta; /* name, number, dim, embedder: fixed; engine: guarded by build_lock */
    struct gx_rows *rows;        /* writer thread appends; lock-free readers (see below); wiping waits for them */
    atomic_uint references;
    atomic_bool loaded, deleted;

    /* Order of locks: change, then lock, then build_lock. */
    pthread_mutex_t change; /* who changes or saves the index; held long, never by a search */
    pthread_rwlock_t lock;  /* guards index; held for reading while an engine is asked */
    struct gx_index index;
    atomic_uint_least32_t indexed_until; /* index.until for who only wants to know; UINT32_MAX = no engine */

    /* Who reads rows is counted here, in the counter of the present phase; see gx_gallery_wait_readers. */
    atomic_uint phase;
    atomic_uint readers[2];

    /* Removals that engines may not have forgotten yet, in order; serial of removals[i] = removals_base + i + 1. */
    pthread_mutex_t removals_lock;
    uint64_t *removals;
    size_t n_removals, n_reserved, cap_removals;
    uint64_t removals_base;
    int64_t oldest_removal_us; /* monotonic; 0 = none waits */
    uint64_t building_upto;    /* clean_upto of the index being built; UINT64_MAX = none is */

    pthread_mutex_t build_lock; /* guards build, wanted and meta.engine */
    struct gx_build_progress build;
    bool build_wanted;
    char wanted[GX_ENGINE_MAX + 1];
    int64_t looked_at_us; /* indexer thread: when the rate of enrolment was looked at, and the rows then */
    uint32_t looked_at_count;
    bool pouring;
    bool drop_open;             /* guarded by change: removing the saved index has failed half-way */
    int64_t build_failed_at_us; /* when the last build failed (monotonic); 0 = it did not */
    atomic_bool broken;         /* the engine failed: searches scan exactly until it is rebuilt */
    atomic_bool unsaved;        /* the index differs from its file */
    int64_t changed_at_us;      /* indexer thread: when rows were last fed */
    size_t feed;                /* indexer thread: rows fed at once */
    int64_t build_took_us;      /* indexer thread: the last build; before the first, a guess for a loaded index */
};

/* An order with a request id that is in the ledger, but that the store lacks as yet (expunge.c). */
struct gx_open_order {
    struct gx_open_order *next;
    struct gx_key request;
};

struct gx_mutation;
struct gx_writer;
struct gx_keeper;
struct gx_backups;
struct gx_indexer;

struct gx_galleries {
    struct gx_galleries_options options;
    char data_dir[1024], store_dir[1024], index_dir[1024], rows_dir[1024], ledger_path[1024], ledger_mirror[1024];
    struct gx_datadir *datadir;
    bool lacks_ballast; /* keeper thread, and while opening */
    struct gx_store *store;
    struct gx_ledger *ledger;
    struct gx_secret secret;
    struct gx_signer *signer; /* of certificates */
    struct gx_uuid uuid;      /* of the store */

    pthread_rwlock_t lock; /* guards list and n; short */
    struct gx_gallery *list[GX_GALLERIES_MAX];
    size_t n;

    atomic_uint_least64_t epoch; /* visible */
    uint64_t next_rno;           /* writer thread only */
    uint64_t next_ticket;        /* writer thread only */
    uint32_t next_gallery;       /* writer thread only */
    struct gx_open_order *open;  /* writer thread only */
    uint64_t opened_epoch;       /* of the store as it was found */

    struct gx_hold_table *holds;               /* changed by the writer thread; opening makes it from the ledger */
    struct gx_hold_unwritten *unwritten_holds; /* writer thread only */

    uint64_t noted_entries; /* while opening: what the store knows of the ledger */
    struct gx_digest noted_head;
    uint64_t replayed_entries;

    /* The keeper's, once it runs: the last certificate, and bytes of rows that are kept for proofs. */
    uint64_t chain_serial;
    struct gx_digest chain_digest;
    size_t proof_bytes;

    atomic_bool stopping;
    atomic_bool checking_absence; /* absent.c: one at a time */
    struct gx_writer *writer;
    struct gx_keeper *keeper;
    struct gx_indexer *indexer;

    struct gx_backups *backups;

    _Atomic(gx_expunge_changed *) ticket_changed;
    void *ticket_changed_arg;
};

/* --- galleries_room.c: room on the disk --- */

/* Gives the ballast up; true when there was one. Any thread. */
bool gx_galleries_release_ballast(struct gx_galleries *galleries);
/* The same, where there is so little room that opening the store may need it. */
void gx_galleries_spare_room(struct gx_galleries *galleries);
/* Makes the ballast where there is room for it. */
void gx_galleries_renew_ballast(struct gx_galleries *galleries);
/* After a write that met a full disk: could it do better if it were tried again? Gives the ballast up when it must. */
bool gx_galleries_make_room(struct gx_galleries *galleries);
/* Room for enrolment? GX_E_FULL. */
GX_MUST enum gx_status gx_galleries_check_room(struct gx_galleries *galleries, struct gx_err *err);

/* --- gallery.c --- */

/* A gallery with no rows; one reference, the caller's. @rows_dir: where the floats of its rows get a file; NULL or "" =
 * in memory. */
GX_MUST enum gx_status gx_gallery_new(const struct gx_gallery_meta *meta, const char *rows_dir, struct gx_gallery **out,
                                      struct gx_err *err);
void gx_gallery_ref(struct gx_gallery *gallery);
void gx_gallery_unref(struct gx_gallery *gallery);

/* The gallery of that name, referenced. GX_E_NOT_FOUND; with @loaded GX_E_UNAVAILABLE while it is loading. */
GX_MUST enum gx_status gx_gallery_find(struct gx_galleries *galleries, struct gx_slice name, bool loaded,
                                       struct gx_gallery **out, struct gx_err *err);
struct gx_gallery *gx_gallery_find_number(struct gx_galleries *galleries, uint32_t number); /* referenced; or NULL */

/* Whoever looks at row contents or records does it between these two; they never wait. */
unsigned gx_gallery_read_begin(struct gx_gallery *gallery);
void gx_gallery_read_end(struct gx_gallery *gallery, unsigned reader);
/* Waits until every reader that may have seen a row alive before this call has ended; new ones are not held up. From
 * one thread only, the keeper. */
void gx_gallery_wait_readers(struct gx_gallery *gallery);

/* Embedder as the gallery's? GX_E_EMBEDDER. */
GX_MUST enum gx_status gx_gallery_check_embedder(const struct gx_gallery *gallery, struct gx_slice id,
                                                 struct gx_slice version, struct gx_err *err);

void gx_gallery_engine_text(struct gx_gallery *gallery, char out[GX_ENGINE_MAX + 1]);

/* Takes note of removed rows: engines must forget them. Returns the serial of the last. Each note needs its own reserve
 * before, which is what can fail; one that is not used is given back. */
GX_MUST enum gx_status gx_gallery_reserve_removals(struct gx_gallery *gallery, size_t n, struct gx_err *err);
void gx_gallery_unreserve_removals(struct gx_gallery *gallery, size_t n);
uint64_t gx_gallery_note_removals(struct gx_gallery *gallery, const uint64_t *rnos, size_t n);
/* An index is being built from now on: removals after the returned serial are kept until it knows them. end: UINT64_MAX
 * takes the place of gx_gallery_set_building's serial. */
uint64_t gx_gallery_begin_build(struct gx_gallery *gallery);
void gx_gallery_set_building(struct gx_gallery *gallery, uint64_t clean_upto);
bool gx_gallery_is_building(struct gx_gallery *gallery);
/* What an engine text of this gallery means now; @now: the engine in use, "" = none. */
GX_MUST enum gx_status gx_gallery_spec(const struct gx_galleries *galleries, const struct gx_gallery *gallery,
                                       const char *text, const char *now, struct gx_engine_spec *out,
                                       struct gx_err *err);
/* Lets @index forget what was removed since its removed_upto, a piece at a time; nothing of them is left in its memory
 * on return. The index in use: the keeper only, who holds change; it takes lock itself. Or one that is not shared yet.
 */
GX_MUST enum gx_status gx_gallery_apply_removals(struct gx_gallery *gallery, struct gx_index *index, bool *out_more,
                                                 struct gx_err *err);
/* Nothing of the removals up to this serial is left in the index in use, nor in one being built. Caller holds change.
 */
uint64_t gx_gallery_clean_upto(struct gx_gallery *gallery);
/* Counts index->dead anew; caller as for apply_removals. */
void gx_gallery_count_dead(struct gx_gallery *gallery, struct gx_index *index);

/* The saved index: its path; writes it (caller holds change); deletes it durably (caller holds change). */
GX_MUST enum gx_status gx_gallery_index_path(const struct gx_galleries *galleries, const struct gx_gallery *gallery,
                                             char out[1100], struct gx_err *err);
GX_MUST enum gx_status gx_gallery_save_index(struct gx_galleries *galleries, struct gx_gallery *gallery,
                                             struct gx_err *err);
GX_MUST enum gx_status gx_gallery_drop_saved(struct gx_galleries *galleries, struct gx_gallery *gallery,
                                             struct gx_err *err);

/* --- gallery_load.c --- */

/* Fills the rows from the store, checks that its families agree, and loads the saved index when it is usable. A
 * gallery that could not be loaded holds rows that are not published. Indexer thread; the crew helps. */
GX_MUST enum gx_status gx_gallery_load(struct gx_galleries *galleries, struct gx_gallery *gallery, struct gx_err *err);

/* --- writer.c: the ordered apply --- */

/* One change. The writer thread calls prepare for each that waits, commits all of them in one synced batch, then calls
 * publish or retract, then done. */
struct gx_mutation {
    struct gx_mutation *next;
    size_t bytes; /* of memory, for the queue's bound */
    bool alone;   /* has durable steps of its own in prepare: never combined with others */
    bool insists; /* alone, and a full disk must not stop it: room is made, and it is prepared again for a while */
    bool changed; /* set by prepare: there is something to commit */
    void *waiter; /* of gx_writer_run */
    enum gx_status outcome;
    struct gx_err err;

    /* Checks, and puts the change into @batch, to be seen at @epoch. On failure it must have put nothing that counts:
     * the writer rolls the batch back. GX_E_NOMEM fails everything that was combined. */
    enum gx_status (*prepare)(struct gx_mutation *self, struct gx_galleries *galleries, struct gx_store_batch *batch,
                              struct gx_arena *arena, uint64_t epoch, struct gx_err *err);
    void (*publish)(struct gx_mutation *self, struct gx_galleries *galleries, uint64_t epoch); /* it is durable */
    void (*retract)(struct gx_mutation *self, struct gx_galleries *galleries); /* prepared, but not written */
    void (*done)(struct gx_mutation *self, struct gx_galleries *galleries);    /* answers and frees; outcome is set */
    void (*discard)(struct gx_mutation *self); /* frees one of the keeper's that this process will not write any more */
};

GX_MUST enum gx_status gx_writer_start(struct gx_galleries *galleries, struct gx_err *err);
void gx_writer_stop(struct gx_galleries *galleries); /* after everything queued was carried out */

/* Queues it; from then on it is the writer's. GX_E_BUSY, GX_E_UNAVAILABLE (stopping): it is still the caller's.
 * @urgent passes the queue's bound (expungements, the keeper). */
GX_MUST enum gx_status gx_writer_submit(struct gx_galleries *galleries, struct gx_mutation *mutation, bool urgent,
                                        struct gx_err *err);
/* The same, and waits for done. @mutation->done is replaced. Not from the writer thread. */
GX_MUST enum gx_status gx_writer_run(struct gx_galleries *galleries, struct gx_mutation *mutation, struct gx_err *err);

/* Puts the counter of the default family into the batch. */
void gx_writer_put_counter(struct gx_store_batch *batch, struct gx_slice key, uint64_t value);

/* The key under which a request of this very gallery is remembered: another one of the same name has its own. */
GX_MUST enum gx_status gx_writer_request_key(struct gx_galleries *galleries, const struct gx_gallery *gallery,
                                             struct gx_slice request_id, struct gx_key *out, struct gx_err *err);
/* Idempotency: looks the request up (GX_OK and *out_found; GX_E_EXISTS: same id, other content), and remembers it. */
GX_MUST enum gx_status gx_writer_recall(struct gx_store_batch *batch, const struct gx_key *request,
                                        const struct gx_digest *content, struct gx_arena *arena, bool *out_found,
                                        struct gx_request_memory *out, struct gx_err *err);
void gx_writer_remember(struct gx_store_batch *batch, const struct gx_key *request,
                        const struct gx_request_memory *memory);

/* --- replay.c: what the outer ledger knows and the store does not --- */

/* A gx_ledger_visit: makes sure that the store has what the entry did. While opening: galleries are listed, nothing is
 * in memory, no thread runs. */
GX_MUST enum gx_status gx_replay_entry(void *galleries, const struct gx_ledger_entry *entry, struct gx_err *err);
/* One function per type (the table of replay.c): looks whether the store has it, and if not puts it into the batch, to
 * be seen at @epoch, and sets @changed; the caller commits. Called for every entry at every start, in order, also for
 * those that have been overtaken since. */
struct gx_replay {
    struct gx_store_batch *batch;
    struct gx_arena *arena; /* of this entry */
    uint64_t epoch;
    bool changed;
};
typedef enum gx_status gx_replay_apply(struct gx_galleries *galleries, const struct gx_ledger_entry *entry,
                                       struct gx_replay *replay, struct gx_err *err);
/* Before: reads what the store notes of the ledger. Afterwards: the ledger must know at least that (else it was cut:
 * GX_E_CORRUPT; another store's ledger is found out by the entries themselves). */
GX_MUST enum gx_status gx_replay_begin(struct gx_galleries *galleries, struct gx_err *err);
GX_MUST enum gx_status gx_replay_check(struct gx_galleries *galleries, struct gx_err *err);
/* Notes in the batch what the ledger ends with, for that check. */
void gx_replay_note(struct gx_galleries *galleries, struct gx_store_batch *batch);
/* Appends the rnos of the records of one named id to @rnos (grown in the arena). */
struct gx_rno_list {
    uint64_t *rnos;
    size_t n, cap;
};
GX_MUST enum gx_status gx_replay_resolve(struct gx_galleries *galleries, uint32_t gallery, enum gx_id_kind kind,
                                         const struct gx_key *id, struct gx_arena *arena, struct gx_rno_list *rnos,
                                         struct gx_err *err);
/* Deletes of rows in every family, into the batch. @skip_missing: a row that is gone already is fine, and keeps its
 * @out_keys[n], which get the keyed hashes that the others stood under. */
GX_MUST enum gx_status gx_replay_delete_rows(struct gx_galleries *galleries, const struct gx_gallery_meta *meta,
                                             const struct gx_rno_list *rnos, bool skip_missing,
                                             struct gx_store_batch *batch, struct gx_row_keys *out_keys,
                                             struct gx_err *err);
/* A ticket that begins, and what its erasure will need: @keys[n_records]. */
GX_MUST enum gx_status gx_replay_put_ticket(const struct gx_ticket *ticket, const struct gx_row_keys *keys,
                                            struct gx_store_batch *batch, struct gx_arena *arena, struct gx_err *err);

/* --- erase_stage.c --- */
/* While opening, before any thread: where the chain of certificates goes on, in agreement with the ledger. */
GX_MUST enum gx_status gx_erase_open(struct gx_galleries *galleries, struct gx_err *err);

/* --- certificate.c --- */
/* Makes the key pair of a new data directory; @batch notes which one it is. */
GX_MUST enum gx_status gx_certificate_create_key(const char *dir, struct gx_store_batch *batch, struct gx_err *err);
/* Opens galleries->signer, and checks that it is this store's. */
GX_MUST enum gx_status gx_certificate_open_key(struct gx_galleries *galleries, struct gx_arena *arena,
                                               struct gx_err *err);
/* Puts the certificate of a ticket (what gx_receipt_make gave) into the batch. */
GX_MUST enum gx_status gx_certificate_put(struct gx_store_batch *batch, uint64_t ticket, struct gx_slice certificate,
                                          struct gx_arena *arena, struct gx_err *err);

/* --- ticket.c --- */

/* What the store says of it; gx_expunge_ticket adds what it cannot say. */
GX_MUST enum gx_status gx_ticket_get(struct gx_galleries *galleries, uint64_t number, struct gx_arena *arena,
                                     struct gx_ticket *out, struct gx_err *err);

/* --- keeper.c: slow work behind expungements --- */
/* start makes it ready to be told of work, run starts its thread; stop joins it, free ends it after the writer. */
GX_MUST enum gx_status gx_keeper_start(struct gx_galleries *galleries, struct gx_err *err);
GX_MUST enum gx_status gx_keeper_run(struct gx_galleries *galleries, struct gx_err *err);
void gx_keeper_stop(struct gx_galleries *galleries);
void gx_keeper_free(struct gx_galleries *galleries);
void gx_keeper_wake(struct gx_galleries *galleries);
/* A ticket that is to be erased. reserve is what can fail (free() undoes it); add takes @pending and copies @keys[n].
 * @serial of its removals, 0 = not noted yet. */
struct gx_pending;
GX_MUST enum gx_status gx_keeper_reserve(const uint64_t *rnos, size_t n, struct gx_pending **out, struct gx_err *err);
void gx_keeper_add_ticket(struct gx_galleries *galleries, struct gx_pending *pending, const struct gx_ticket *ticket,
                          const struct gx_row_keys *keys, uint64_t serial);
/* Any thread. */
void gx_keeper_count_alarms(struct gx_galleries *galleries, struct gx_expunge_alarms *out);
/* One that is in the ledger, but whose batch could not be written: submitted again until it is. Needs discard. */
/* Puts an alarm on the ticket that the store could not take down, where there is one. */
GX_MUST enum gx_status gx_keeper_add_alarm(struct gx_galleries *galleries, struct gx_arena *arena,
                                           struct gx_ticket *ticket, struct gx_err *err);
void gx_keeper_add_retry(struct gx_galleries *galleries, struct gx_mutation *mutation);
/* A deleted gallery whose rows must leave the store. */
void gx_keeper_add_deleted(struct gx_galleries *galleries, const struct gx_gallery_meta *meta);

/* --- backup.c, backup_register.c --- */
/* open after the replay of the ledger, run starts its thread; stop joins it (what it makes is broken off, and the
 * writer is needed for that), free ends it. */
GX_MUST enum gx_status gx_backup_open(struct gx_galleries *galleries, struct gx_err *err);
GX_MUST enum gx_status gx_backup_run(struct gx_galleries *galleries, struct gx_err *err);
void gx_backup_stop_all(struct gx_galleries *galleries);
void gx_backup_free(struct gx_galleries *galleries);
/* An erase run asks before it touches files: false = a backup has links to them, or waits for its turn; the keeper is
 * woken when that is over. From @due_us (wall clock) on a backup is broken off. Each true wants a leave. */
bool gx_backup_enter_erase(struct gx_galleries *galleries, int64_t due_us);
void gx_backup_leave_erase(struct gx_galleries *galleries);
/* May @backup still hold records of @ticket? */
bool gx_backup_may_hold(const struct gx_backup *backup, const struct gx_ticket *ticket, int64_t now_us);
/* A gx_replay_apply of both kinds of entries. */
GX_MUST enum gx_status gx_backup_replay(struct gx_galleries *galleries, const struct gx_ledger_entry *entry,
                                        struct gx_replay *replay, struct gx_err *err);

/* --- indexer.c: loads galleries, builds and feeds their engines --- */
GX_MUST enum gx_status gx_indexer_start(struct gx_galleries *galleries, struct gx_err *err);
/* Joins it, indexes are saved; free ends it. False: it is in the middle of training, and touches nothing but its own
 * sample until that is over; then it must not find anything torn down. */
bool gx_indexer_stop(struct gx_galleries *galleries);
void gx_indexer_free(struct gx_galleries *galleries);
void gx_indexer_wake(struct gx_galleries *galleries);
/* Threads that a build may use. */
size_t gx_indexer_threads(void);
/* Adds every live row to @index, which is not shared yet, but for the last of those that come meanwhile, if they come
 * faster than they can be added; forgets meanwhile what is removed. Indexer thread. */
GX_MUST enum gx_status gx_indexer_add_all(struct gx_galleries *galleries, struct gx_gallery *gallery,
                                          struct gx_index *index, struct gx_err *err);
bool gx_indexer_has_loaded(struct gx_galleries *galleries); /* or failed to: it reads no gallery any more */
GX_MUST enum gx_status gx_indexer_wait_loaded(struct gx_galleries *galleries, struct gx_err *err);

#endif
