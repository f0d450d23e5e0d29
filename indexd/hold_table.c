/* A hash table with chains: keyed hashes are as good as random numbers, so their first bytes choose the bucket. */
#include "hold_table.h"

#include <pthread.h>
#include <stdlib.h>

#define BUCKETS_MIN 256

struct gx_hold_table {
    pthread_rwlock_t lock;
    struct gx_hold_entry **buckets; /* [n_buckets], a power of two */
    size_t n_buckets, n;
    struct gx_hold_case *cases;
    uint64_t last_serial;
};

enum gx_status gx_hold_table_new(struct gx_hold_table **out, struct gx_err *err)
{
    struct gx_hold_table *t = calloc(1, sizeof(*t));
    if (t != NULL)
        t->buckets = calloc(BUCKETS_MIN, sizeof(struct gx_hold_entry *));
    *out = NULL;
    if (t == NULL || t->buckets == NULL) {
        free(t);
        return gx_fail(err, GX_E_NOMEM, "the table of holds: out of memory");
    }
    t->n_buckets = BUCKETS_MIN;
    pthread_rwlock_init(&t->lock, NULL);
    *out = t;
    return GX_OK;
}

void gx_hold_table_free(struct gx_hold_table *table)
{
    if (table == NULL)
        return;
    for (size_t i = 0; i < table->n_buckets; i++)
        for (struct gx_hold_entry *e = table->buckets[i], *next; e != NULL; e = next) {
            next = e->next;
            free(e);
        }
    for (struct gx_hold_case *c = table->cases, *next; c != NULL; c = next) {
        next = c->next;
        free(c);
    }
    pthread_rwlock_destroy(&table->lock);
    free(table->buckets);
    free(table);
}

void gx_hold_table_lock(struct gx_hold_table *table)
{
    pthread_rwlock_rdlock(&table->lock);
}

void gx_hold_table_unlock(struct gx_hold_table *table)
{
    pthread_rwlock_unlock(&table->lock);
}

size_t gx_hold_table_count(const struct gx_hold_table *table)
{
    return table->n;
}

size_t gx_hold_table_count_of(const struct gx_hold_table *table, struct gx_slice gallery)
{
    size_t n = 0;
    for (const struct gx_hold_case *c = table->cases; c != NULL; c = c->next)
        if (gx_slice_equal(gx_slice_text(c->gallery), gallery))
            n += c->n_ids;
    return n;
}

static struct gx_hold_entry **bucket_of(const struct gx_hold_table *table, const struct gx_key *id)
{
    size_t hash;
    memcpy(&hash, id->bytes, sizeof(hash));
    return &table->buckets[hash & (table->n_buckets - 1)];
}

struct gx_hold_case *gx_hold_table_case(struct gx_hold_table *table, struct gx_slice gallery, enum gx_id_kind kind,
                                        struct gx_slice reference)
{
    struct gx_hold_case *c = table->cases;
    while (c != NULL && !(c->kind == kind && gx_slice_equal(c->reference, reference) &&
                          gx_slice_equal(gx_slice_text(c->gallery), gallery)))
        c = c->next;
    return c;
}

static bool is_of(const struct gx_hold_entry *e, const struct gx_key *id)
{
    return memcmp(&e->id, id, sizeof(*id)) == 0;
}

struct gx_hold_entry *gx_hold_table_next(const struct gx_hold_table *table, const struct gx_key *id,
                                         const struct gx_hold_entry *after)
{
    struct gx_hold_entry *e = after == NULL ? *bucket_of(table, id) : after->next;
    while (e != NULL && !is_of(e, id))
        e = e->next;
    return e;
}

struct gx_hold_entry *gx_hold_table_find(const struct gx_hold_table *table, const struct gx_key *id,
                                         const struct gx_hold_case *of)
{
    struct gx_hold_entry *e = gx_hold_table_next(table, id, NULL);
    while (e != NULL && e->of != of)
        e = gx_hold_table_next(table, id, e);
    return e;
}

struct gx_hold_entry *gx_hold_table_walk(const struct gx_hold_table *table, size_t *io_bucket,
                                         const struct gx_hold_entry *after)
{
    struct gx_hold_entry *e = after == NULL ? NULL : after->next;
    while (e == NULL && *io_bucket < table->n_buckets)
        e = table->buckets[(*io_bucket)++];
    return e;
}

/* --- changes --- */

/* More buckets for @n more entries; without memory the chains get longer. */
static void grow(struct gx_hold_table *table, size_t n)
{
    size_t wanted = table->n_buckets;
    while (wanted < table->n + n)
        wanted *= 2;
    struct gx_hold_entry **fresh = wanted == table->n_buckets ? NULL : calloc(wanted, sizeof(*fresh));
    if (fresh == NULL)
        return;
    pthread_rwlock_wrlock(&table->lock);
    struct gx_hold_entry **old = table->buckets;
    size_t n_old = table->n_buckets;
    table->buckets = fresh;
    table->n_buckets = wanted;
    for (size_t i = 0; i < n_old; i++)
        for (struct gx_hold_entry *e = old[i], *next; e != NULL; e = next) {
            next = e->next;
            struct gx_hold_entry **bucket = bucket_of(table, &e->id);
            e->next = *bucket;
            *bucket = e;
        }
    pthread_rwlock_unlock(&table->lock);
    free(old);
}

static struct gx_hold_case *new_case(struct gx_slice gallery, enum gx_id_kind kind, struct gx_slice reference)
{
    struct gx_hold_case *c = calloc(1, sizeof(*c) + reference.len);
    if (c == NULL)
        return NULL;
    uint8_t *text = (uint8_t *)(c + 1);
    c->kind = kind;
    memcpy(c->gallery, gallery.data, GX_MIN(gallery.len, (size_t)GX_NAME_MAX));
    memcpy(text, reference.data, reference.len);
    c->reference = (struct gx_slice){text, reference.len};
    return c;
}

enum gx_status gx_hold_table_reserve(struct gx_hold_table *table, struct gx_slice gallery, enum gx_id_kind kind,
                                     struct gx_slice reference, size_t n, struct gx_hold_room *out, struct gx_err *err)
{
    assert(reference.len > 0 && gallery.len > 0);
    *out = (struct gx_hold_room){.of = gx_hold_table_case(table, gallery, kind, reference)};
    if (out->of == NULL) {
        out->of = new_case(gallery, kind, reference);
        out->fresh = true;
    }
    bool failed = out->of == NULL;
    for (size_t i = 0; i < n && !failed; i++) {
        struct gx_hold_entry *e = calloc(1, sizeof(*e));
        failed = e == NULL;
        if (failed)
            break;
        e->next = out->entries;
        out->entries = e;
    }
    if (failed) {
        gx_hold_table_unreserve(out);
        return gx_fail(err, GX_E_NOMEM, "place a hold: out of memory");
    }
    grow(table, n);
    return GX_OK;
}

void gx_hold_table_unreserve(struct gx_hold_room *room)
{
    for (struct gx_hold_entry *e = room->entries, *next; e != NULL; e = next) {
        next = e->next;
        free(e);
    }
    if (room->fresh)
        free(room->of);
    *room = (struct gx_hold_room){0};
}

void gx_hold_table_place(struct gx_hold_table *table, struct gx_hold_room *room, const struct gx_key *id,
                         bool quarantine, int64_t placed_at_us)
{
    pthread_rwlock_wrlock(&table->lock);
    struct gx_hold_entry *e = room->fresh ? NULL : gx_hold_table_find(table, id, room->of);
    if (e != NULL) {
        e->quarantine = e->quarantine || quarantine;
        pthread_rwlock_unlock(&table->lock);
        return;
    }
    if (room->fresh) {
        room->of->next = table->cases;
        table->cases = room->of;
        room->fresh = false;
    }
    e = room->entries;
    assert(e != NULL);
    room->entries = e->next;
    struct gx_hold_entry **bucket = bucket_of(table, id);
    *e = (struct gx_hold_entry){.next = *bucket,
                                .of = room->of,
                                .id = *id,
                                .quarantine = quarantine,
                                .placed_at_us = placed_at_us,
                                .serial = ++table->last_serial};
    *bucket = e;
    room->of->n_ids++;
    table->n++;
    pthread_rwlock_unlock(&table->lock);
}

bool gx_hold_table_release(struct gx_hold_table *table, struct gx_hold_case *of, const struct gx_key *id)
{
    pthread_rwlock_wrlock(&table->lock);
    struct gx_hold_entry **link = bucket_of(table, id);
    while (*link != NULL && !((*link)->of == of && is_of(*link, id)))
        link = &(*link)->next;
    struct gx_hold_entry *e = *link;
    if (e != NULL) {
        *link = e->next;
        of->n_ids--;
        table->n--;
    }
    pthread_rwlock_unlock(&table->lock);
    free(e);
    return e != NULL;
}
