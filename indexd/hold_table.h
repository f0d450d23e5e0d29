/* The legal holds in force, in memory: which ids are held, under which references. Keyed hashes only; they say the
 * gallery and the kind of the id too, so one table serves all galleries.
 *
 * One thread changes it (the writer; while opening, whoever opens) and may look without a lock; others look between
 * gx_hold_table_lock and unlock. */
#ifndef GX_HOLD_TABLE_H
#define GX_HOLD_TABLE_H

#include "codec.h"

struct gx_hold_table;

/* What was placed under one reference on ids of one kind in one gallery. Lives as long as the table. */
struct gx_hold_case {
    struct gx_hold_case *next;
    char gallery[GX_NAME_MAX + 1]; /* name */
    enum gx_id_kind kind;          /* record or arrest */
    struct gx_slice reference;
    size_t n_ids; /* held now; 0 = all were released */
};

/* One id under one reference. */
struct gx_hold_entry {
    struct gx_hold_entry *next; /* in its bucket */
    struct gx_hold_case *of;
    struct gx_key id;
    bool quarantine;
    int64_t placed_at_us;
    uint64_t serial; /* the order of placing; the same at every start */
};

GX_MUST enum gx_status gx_hold_table_new(struct gx_hold_table **out, struct gx_err *err);
void gx_hold_table_free(struct gx_hold_table *table); /* NULL is fine */
void gx_hold_table_lock(struct gx_hold_table *table); /* shared: for reading */
void gx_hold_table_unlock(struct gx_hold_table *table);

/* Ids held, of all galleries or of one. */
size_t gx_hold_table_count(const struct gx_hold_table *table);
size_t gx_hold_table_count_of(const struct gx_hold_table *table, struct gx_slice gallery);

/* NULL = there is none. */
struct gx_hold_case *gx_hold_table_case(struct gx_hold_table *table, struct gx_slice gallery, enum gx_id_kind kind,
                                        struct gx_slice reference);
/* The next hold on this id after @after (NULL = the first), in no order; NULL = no more. */
struct gx_hold_entry *gx_hold_table_next(const struct gx_hold_table *table, const struct gx_key *id,
                                         const struct gx_hold_entry *after);
/* The hold on this id under this reference, or NULL. */
struct gx_hold_entry *gx_hold_table_find(const struct gx_hold_table *table, const struct gx_key *id,
                                         const struct gx_hold_case *of);
/* Every hold in no order: *io_bucket begins with 0 and @after with NULL. */
struct gx_hold_entry *gx_hold_table_walk(const struct gx_hold_table *table, size_t *io_bucket,
                                         const struct gx_hold_entry *after);

/* Memory for @n entries under one reference, taken before a hold is written down: with it placing cannot fail. */
struct gx_hold_room {
    struct gx_hold_entry *entries; /* linked by next */
    struct gx_hold_case *of;
    bool fresh; /* the case is not in the table yet */
};
GX_MUST enum gx_status gx_hold_table_reserve(struct gx_hold_table *table, struct gx_slice gallery, enum gx_id_kind kind,
                                             struct gx_slice reference, size_t n, struct gx_hold_room *out,
                                             struct gx_err *err);
/* Places an id that has no entry under this reference; upgrades one that has, from without to with quarantine. */
void gx_hold_table_place(struct gx_hold_table *table, struct gx_hold_room *room, const struct gx_key *id,
                         bool quarantine, int64_t placed_at_us);
/* Ends it. False: there is none. */
bool gx_hold_table_release(struct gx_hold_table *table, struct gx_hold_case *of, const struct gx_key *id);
/* What of the room was not used. A zeroed one is fine. */
void gx_hold_table_unreserve(struct gx_hold_room *room);

#endif
