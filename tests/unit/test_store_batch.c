/* A batch without memory for its table: nothing of it is read or written, and it works again once it is cleared. */
#include "store_tools.h"

#define N 300 /* changes: the first table and three larger ones */

static long left = -1; /* allocations until one fails; -1 = none does */
static bool failed;

/* In the place of libc's, which only our own code calls. */
void *reallocarray(void *p, size_t n, size_t size)
{
    size_t len;
    if (left >= 0 && left-- == 0) {
        failed = true;
        return NULL;
    }
    return __builtin_mul_overflow(n, size, &len) ? NULL : realloc(p, len);
}

static struct gx_slice key_of(const uint32_t *i)
{
    return (struct gx_slice){(const uint8_t *)i, sizeof(*i)};
}

static void put_all(struct gx_store_batch *batch, bool marked)
{
    for (uint32_t i = 0; i < N; i++) {
        if (i == N / 2 && marked)
            gx_store_batch_mark(batch);
        gx_store_batch_put(batch, GX_CF_REC, key_of(&i), key_of(&i));
    }
}

/* Is all of it, or nothing of it, in the store? */
static void check_store(struct gx_store *store, bool all)
{
    struct gx_slice value;
    for (uint32_t i = 0; i < N; i++)
        assert_status(gx_store_get(store, GX_CF_REC, key_of(&i), &arena, &value, &err), all ? GX_OK : GX_E_NOT_FOUND);
    gx_arena_reset(&arena);
}

static void check_refusals(struct gx_store *store, struct gx_store_batch *batch)
{
    static const uint32_t first = 0, last = N - 1;
    struct gx_slice value;
    assert_status(gx_store_batch_get(batch, GX_CF_REC, key_of(&first), &arena, &value, &err), GX_E_NOMEM);
    assert_status(gx_store_batch_get(batch, GX_CF_REC, key_of(&last), &arena, &value, &err), GX_E_NOMEM);
    assert_status(gx_store_commit(store, batch, &err), GX_E_NOMEM);
    check_store(store, false);
}

/* The @nth allocation fails. False: there are not so many. */
static bool fail_once(long nth, bool marked)
{
    struct gx_store *store = new_store();
    struct gx_store_batch *batch = new_batch(store);
    failed = false;
    left = nth;
    put_all(batch, marked);
    left = -1;
    if (failed) {
        check_refusals(store, batch);
        if (marked) { /* taking changes back does not make it whole */
            gx_store_batch_rollback(batch);
            check_refusals(store, batch);
        }
        gx_store_batch_clear(batch);
        put_all(batch, false);
    }
    assert_ok(gx_store_commit(store, batch, &err));
    check_store(store, true);
    gx_store_batch_free(batch);
    gx_store_close(store);
    gx_suite_new_path(dir);
    return failed;
}

START_TEST(batch_without_memory_is_refused_whole_and_works_again_once_cleared)
{
    begin_test();
    for (int marked = 0; marked < 2; marked++) {
        long nth = 0;
        while (fail_once(nth, marked != 0))
            nth++;
        ck_assert_int_eq(nth, 8); /* two for each of four tables */
    }
    end_test();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_batch");
    TCase *tc = tcase_create("store_batch");
    tcase_add_test(tc, batch_without_memory_is_refused_whole_and_works_again_once_cleared);
    suite_add_tcase(suite, tc);
    return gx_suite_run_in_folder(suite);
}
