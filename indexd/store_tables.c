/* The table files of the store and the keys they may hold: pure questions to one listing. */
#include "store_private.h"

#include <stdlib.h>

/* ---------------------------------------------------------------- stains */

static enum gx_status check_stain(const struct gx_store_stain *stain, struct gx_err *err)
{
    if ((unsigned)stain->family >= GX_CF_COUNT)
        return gx_fail(err, GX_E_INVALID, "a stain names no family");
    if (stain->n_keys == 0 && gx_slice_compare(stain->from, stain->until) >= 0)
        return gx_fail(err, GX_E_INVALID, "a stain needs keys, or a range that begins before it ends");
    for (size_t i = 1; i < stain->n_keys; i++)
        if (gx_slice_compare(stain->keys[i - 1], stain->keys[i]) >= 0)
            return gx_fail(err, GX_E_INVALID, "stained keys must be ascending and distinct");
    return GX_OK;
}

enum gx_status gx_store_tables_check(const struct gx_store_stain *stains, size_t n_stains, struct gx_err *err)
{
    for (size_t i = 0; i < n_stains; i++)
        GX_TRY(check_stain(&stains[i], err));
    return GX_OK;
}

size_t gx_store_tables_count(const struct gx_store_stain *stain)
{
    return GX_MAX(stain->n_keys, (size_t)1);
}

struct gx_store_span gx_store_tables_span(const struct gx_store_stain *stain, size_t key)
{
    struct gx_store_span span = {stain->family, stain->from, stain->until, true};
    if (stain->n_keys > 0)
        span = (struct gx_store_span){stain->family, stain->keys[key], stain->keys[key], false};
    return span;
}

/* ---------------------------------------------------------------- listing */

static enum gx_family family_of(const char *name)
{
    int family = 0;
    while (family < GX_CF_COUNT && strcmp(name, gx_store_family_names[family]) != 0)
        family++;
    return (enum gx_family)family;
}

static int compare_tables(const void *a, const void *b)
{
    const struct gx_store_table *x = a, *y = b;
    if (x->family != y->family)
        return x->family < y->family ? -1 : 1;
    if (x->level != y->level)
        return x->level < y->level ? -1 : 1;
    int c = gx_slice_compare(x->lowest, y->lowest);
    return c != 0 ? c : (x->number > y->number) - (x->number < y->number);
}

enum gx_status gx_store_tables_init(struct gx_store_tables *tables, struct gx_store *store, struct gx_err *err)
{
    *tables = (struct gx_store_tables){.listing = rocksdb_livefiles(store->db)};
    size_t n = (size_t)rocksdb_livefiles_count(tables->listing);
    tables->all = calloc(n + 1, sizeof(*tables->all));
    if (tables->all == NULL) {
        gx_store_tables_fini(tables);
        return gx_fail(err, GX_E_NOMEM, "no memory to list the files of the store");
    }
    for (size_t i = 0; i < n; i++) {
        struct gx_store_table *table = &tables->all[i];
        const char *name = rocksdb_livefiles_name(tables->listing, (int)i); /* "/000123.sst" */
        table->number = strtoull(name + (*name == '/'), NULL, 10);
        table->size = rocksdb_livefiles_size(tables->listing, (int)i);
        table->family = family_of(rocksdb_livefiles_column_family_name(tables->listing, (int)i));
        table->level = rocksdb_livefiles_level(tables->listing, (int)i);
        assert(table->family < GX_CF_COUNT && table->level < GX_STORE_LEVELS);
        size_t len;
        table->lowest.data = (const uint8_t *)rocksdb_livefiles_smallestkey(tables->listing, (int)i, &len);
        table->lowest.len = len;
        table->highest.data = (const uint8_t *)rocksdb_livefiles_largestkey(tables->listing, (int)i, &len);
        table->highest.len = len;
    }
    tables->n_all = n;
    qsort(tables->all, n, sizeof(*tables->all), compare_tables);
    for (size_t i = 0, at = 0; i <= GX_CF_COUNT * GX_STORE_LEVELS; i++) {
        while (at < n && (size_t)tables->all[at].family * GX_STORE_LEVELS + (size_t)tables->all[at].level < i)
            at++;
        tables->begins[i] = at;
    }
    return GX_OK;
}

void gx_store_tables_fini(struct gx_store_tables *tables)
{
    if (tables->listing != NULL)
        rocksdb_livefiles_destroy(tables->listing);
    free(tables->all);
    *tables = (struct gx_store_tables){0};
}

/* ---------------------------------------------------------------- overlap */

static bool is_behind(struct gx_slice key, const struct gx_store_span *span)
{
    int c = gx_slice_compare(key, span->until);
    return c > 0 || (c == 0 && span->is_open);
}

/* Of the files of [@low, @high), which are sorted and don't overlap, the first that does not end below @key. */
static size_t search(const struct gx_store_tables *tables, size_t low, size_t high, struct gx_slice key)
{
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (gx_slice_compare(tables->all[middle].highest, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

size_t gx_store_tables_find(const struct gx_store_tables *tables, const struct gx_store_span *span, int level,
                            size_t at)
{
    size_t place = (size_t)span->family * GX_STORE_LEVELS + (size_t)level;
    size_t low = GX_MAX(at, tables->begins[place]), end = tables->begins[place + 1];
    if (level > 0)
        low = search(tables, low, end, span->from);
    for (; low < end && !is_behind(tables->all[low].lowest, span); low++)
        if (gx_slice_compare(tables->all[low].highest, span->from) >= 0)
            return low;
    return SIZE_MAX;
}

size_t gx_store_tables_place(const struct gx_store_tables *tables, enum gx_family family, struct gx_slice key)
{
    for (int level = GX_STORE_LEVELS - 1; level > 0; level--) {
        size_t place = (size_t)family * GX_STORE_LEVELS + (size_t)level;
        if (tables->begins[place] < tables->begins[place + 1])
            return search(tables, tables->begins[place], tables->begins[place + 1], key);
    }
    return 0;
}

bool gx_store_tables_are_clean(const struct gx_store_tables *tables, const struct gx_store_span *span, uint64_t fence)
{
    int found = 0; /* the level below 0 that has files of the span */
    for (int level = 0; level < GX_STORE_LEVELS; level++)
        for (size_t at = 0; (at = gx_store_tables_find(tables, span, level, at)) != SIZE_MAX; at++) {
            if (tables->all[at].number <= fence || (found > 0 && level != found))
                return false;
            found = level;
        }
    return true;
}

/* ---------------------------------------------------------------- files that a scan may leave out */

static bool may_hold(const struct gx_store_tables *tables, size_t place, const struct gx_store_stain *stain)
{
    const struct gx_store_table *table = &tables->all[place];
    if (table->family != stain->family)
        return false;
    if (stain->n_keys == 0) {
        struct gx_store_span span = gx_store_tables_span(stain, 0);
        return !is_behind(table->lowest, &span) && gx_slice_compare(table->highest, span.from) >= 0;
    }
    size_t low = 0, high = stain->n_keys; /* the first key that is not below the file */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (gx_slice_compare(stain->keys[middle], table->lowest) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < stain->n_keys && gx_slice_compare(stain->keys[low], table->highest) <= 0;
}

static int compare_numbers(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

enum gx_status gx_store_find_clear(struct gx_store *store, const struct gx_store_stain *stains, size_t n_stains,
                                   struct gx_arena *arena, struct gx_store_clear *out, struct gx_err *err)
{
    *out = (struct gx_store_clear){0};
    GX_TRY(gx_store_tables_check(stains, n_stains, err));
    struct gx_store_tables tables;
    GX_TRY(gx_store_tables_init(&tables, store, err));
    uint64_t *numbers;
    enum gx_status status;
    GX_TRY_OUT(gx_arena_array(arena, tables.n_all + 1, sizeof(*numbers), &numbers, err));
    for (size_t i = 0; i < tables.n_all; i++) {
        bool held = false;
        for (size_t j = 0; j < n_stains && !held; j++)
            held = may_hold(&tables, i, &stains[j]);
        if (!held)
            numbers[out->n_numbers++] = tables.all[i].number;
    }
    qsort(numbers, out->n_numbers, sizeof(*numbers), compare_numbers);
    out->numbers = numbers;
out:
    gx_store_tables_fini(&tables);
    return status;
}

bool gx_store_is_clear(const struct gx_store_clear *clear, const char *name)
{
    char *end;
    if (*name < '0' || *name > '9')
        return false;
    uint64_t number = strtoull(name, &end, 10);
    return strcmp(end, ".sst") == 0 && clear->n_numbers > 0 &&
           bsearch(&number, clear->numbers, clear->n_numbers, sizeof(number), compare_numbers) != NULL;
}
