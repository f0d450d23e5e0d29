/* The expunged ids: a hash table that only grows, with open addressing.
 *
 * Readers take no lock: a place is written before its kind is published and never again after that, and a table that
 * was outgrown stays until the end. Together the outgrown ones are smaller than the present one. */
#include "codec.h"
#include "ledger_private.h"

#include <stdatomic.h>
#include <stdlib.h>

struct place {
    uint64_t a, b;    /* the key */
    atomic_uint kind; /* 0 = free; published last */
};

struct table {
    struct table *outgrown;
    size_t mask;
    struct place places[];
};

struct gx_ledger_ids {
    _Atomic(struct table *) table;
    size_t n_keys;
    bool shared;
};

static size_t home_of(uint64_t a, uint64_t b, unsigned kind, size_t mask)
{
    uint64_t h = (a ^ (b * 0x9e3779b97f4a7c15u) ^ kind) * 0xd1342543de82ef95u;
    return (size_t)(h >> 20) & mask;
}

static struct table *table_new(size_t size)
{
    struct table *table = calloc(1, sizeof(*table) + size * sizeof(table->places[0]));
    if (table != NULL)
        table->mask = size - 1;
    return table;
}

/* Whether it was new. There is room. */
static bool table_add(struct table *table, uint64_t a, uint64_t b, unsigned kind)
{
    for (size_t i = home_of(a, b, kind, table->mask);; i = (i + 1) & table->mask) {
        struct place *place = &table->places[i];
        unsigned there = atomic_load_explicit(&place->kind, memory_order_relaxed);
        if (there == kind && place->a == a && place->b == b)
            return false;
        if (there != 0)
            continue;
        place->a = a;
        place->b = b;
        atomic_store_explicit(&place->kind, kind, memory_order_release);
        return true;
    }
}

enum gx_status gx_ledger_ids_new(struct gx_ledger_ids **out, struct gx_err *err)
{
    struct gx_ledger_ids *ids = *out = calloc(1, sizeof(*ids));
    struct table *table = ids == NULL ? NULL : table_new(1024);
    if (table == NULL) {
        free(ids);
        *out = NULL;
        return gx_fail(err, GX_E_NOMEM, "no memory for the set of expunged ids: give indexd more");
    }
    atomic_init(&ids->table, table);
    return GX_OK;
}

void gx_ledger_ids_free(struct gx_ledger_ids *ids)
{
    if (ids == NULL)
        return;
    for (struct table *table = atomic_load(&ids->table), *outgrown; table != NULL; table = outgrown) {
        outgrown = table->outgrown;
        free(table);
    }
    free(ids);
}

void gx_ledger_ids_share(struct gx_ledger_ids *ids)
{
    ids->shared = true;
}

enum gx_status gx_ledger_ids_reserve(struct gx_ledger_ids *ids, size_t n, struct gx_err *err)
{
    struct table *old = atomic_load_explicit(&ids->table, memory_order_relaxed);
    size_t size = old->mask + 1;
    while ((ids->n_keys + n) * 3 > size * 2) /* at most two thirds full */
        size *= 2;
    if (size == old->mask + 1)
        return GX_OK;
    struct table *table = table_new(size);
    if (table == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory for the set of expunged ids: give indexd more");
    for (size_t i = 0; i <= old->mask; i++) {
        const struct place *place = &old->places[i];
        unsigned kind = atomic_load_explicit(&place->kind, memory_order_relaxed);
        if (kind != 0)
            (void)table_add(table, place->a, place->b, kind);
    }
    table->outgrown = ids->shared ? old : NULL;
    atomic_store_explicit(&ids->table, table, memory_order_release);
    if (!ids->shared)
        free(old);
    return GX_OK;
}

void gx_ledger_ids_add(struct gx_ledger_ids *ids, enum gx_id_kind kind, const struct gx_key *keys, size_t n)
{
    struct table *table = atomic_load_explicit(&ids->table, memory_order_relaxed);
    for (size_t i = 0; i < n; i++)
        ids->n_keys +=
            table_add(table, gx_codec_get_u64(keys[i].bytes), gx_codec_get_u64(keys[i].bytes + 8), (unsigned)kind);
    assert(ids->n_keys * 3 <= (table->mask + 1) * 2);
}

bool gx_ledger_ids_has(struct gx_ledger_ids *ids, enum gx_id_kind kind, const struct gx_key *key)
{
    const struct table *table = atomic_load_explicit(&ids->table, memory_order_acquire);
    uint64_t a = gx_codec_get_u64(key->bytes), b = gx_codec_get_u64(key->bytes + 8);
    for (size_t i = home_of(a, b, (unsigned)kind, table->mask);; i = (i + 1) & table->mask) {
        const struct place *place = &table->places[i];
        unsigned there = atomic_load_explicit(&place->kind, memory_order_acquire);
        if (there == 0)
            return false;
        if (there == (unsigned)kind && place->a == a && place->b == b)
            return true;
    }
}
