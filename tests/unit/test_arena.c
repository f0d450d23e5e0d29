/* Promises of arena.h. */
#include "arena.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "random.h"
#include "suite.h"

/* Sanitizers end the process when memory cannot be had, unless told otherwise. */
const char *__asan_default_options(void);
const char *__tsan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}
const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}

#define SEED 7

static uint64_t random_state = SEED;

static uint8_t *alloc(struct gx_arena *arena, size_t n)
{
    uint8_t *p = gx_arena_alloc(arena, n);
    ck_assert_ptr_nonnull(p);
    ck_assert_uint_eq((uintptr_t)p % 64, 0);
    return p;
}

START_TEST(pieces_of_any_size_are_aligned_and_apart)
{
    enum { N = 2000 };
    static struct {
        uint8_t *p;
        size_t n;
    } pieces[N];
    struct gx_arena arena;
    gx_arena_init(&arena, (size_t)1 << 30);
    for (size_t i = 0; i < N; i++) {
        /* Mostly small, some of a block's size, a few far larger. */
        size_t n = gx_random_next(&random_state) % 300;
        if (i % 50 == 0)
            n = gx_random_next(&random_state) % 300000;
        if (i % 500 == 0)
            n = 2000000;
        pieces[i].n = n;
        pieces[i].p = alloc(&arena, n);
        memset(pieces[i].p, (int)(i % 251), n);
    }
    for (size_t i = 0; i < N; i++) {
        size_t same = 0;
        while (same < pieces[i].n && pieces[i].p[same] == i % 251)
            same++;
        ck_assert_msg(same == pieces[i].n, "seed %d: piece %zu was overwritten", SEED, i);
    }
    gx_arena_fini(&arena);
}
END_TEST

START_TEST(nothing_is_handed_out_past_the_limit)
{
    struct gx_arena arena;
    gx_arena_init(&arena, 1024);
    (void)alloc(&arena, 1000); /* counts as 1024 */
    ck_assert_uint_eq(arena.used, 1024);
    ck_assert_ptr_null(gx_arena_alloc(&arena, 1));
    ck_assert_ptr_null(gx_arena_alloc(&arena, 0));
    gx_arena_reset(&arena);
    ck_assert_ptr_null(gx_arena_alloc(&arena, 1025));
    for (int i = 0; i < 16; i++)
        (void)alloc(&arena, 64);
    ck_assert_ptr_null(gx_arena_alloc(&arena, 1));
    gx_arena_fini(&arena);
}
END_TEST

START_TEST(endless_empty_pieces_meet_the_limit_too)
{
    struct gx_arena arena;
    gx_arena_init(&arena, 6400);
    uint8_t *last = NULL;
    for (int i = 0; i < 100; i++) {
        uint8_t *p = alloc(&arena, 0);
        ck_assert_ptr_ne(p, last);
        last = p;
    }
    ck_assert_ptr_null(gx_arena_alloc(&arena, 0));
    gx_arena_fini(&arena);
}
END_TEST

START_TEST(sizes_that_overflow_are_refused)
{
    struct gx_arena arena;
    gx_arena_init(&arena, SIZE_MAX);
    ck_assert_ptr_null(gx_arena_alloc(&arena, SIZE_MAX));
    ck_assert_ptr_null(gx_arena_alloc(&arena, SIZE_MAX - 62));
    ck_assert_ptr_null(gx_arena_calloc(&arena, SIZE_MAX / 2, 3));
    ck_assert_ptr_null(gx_arena_calloc(&arena, (size_t)1 << 33, (size_t)1 << 33));
    (void)alloc(&arena, 1);
    gx_arena_fini(&arena);
}
END_TEST

START_TEST(an_array_is_cleared_even_where_memory_was_used_before)
{
    struct gx_arena arena;
    struct gx_err err;
    gx_arena_init(&arena, 1 << 20);
    for (int round = 0; round < 3; round++) {
        uint64_t *array;
        ck_assert_int_eq(gx_arena_array(&arena, 1000, sizeof(*array), &array, &err), GX_OK);
        for (size_t i = 0; i < 1000; i++) {
            ck_assert_uint_eq(array[i], 0);
            array[i] = UINT64_MAX;
        }
        gx_arena_reset(&arena);
    }
    gx_arena_fini(&arena);
}
END_TEST

START_TEST(what_is_too_much_is_told_from_what_cannot_be_had)
{
    struct gx_arena arena;
    struct gx_err err;
    void *array = &arena;
    gx_arena_init(&arena, 100);
    ck_assert_int_eq(gx_arena_array(&arena, 101, 1, &array, &err), GX_E_TOO_LARGE);
    ck_assert_ptr_null(array);
    ck_assert_int_eq(gx_arena_array(&arena, SIZE_MAX, 16, &array, &err), GX_E_TOO_LARGE);
    struct gx_slice copy, slice = {(const uint8_t *)&arena, 101};
    ck_assert_int_eq(gx_arena_copy(&arena, slice, &copy, &err), GX_E_TOO_LARGE);
    ck_assert_uint_eq(copy.len, 0);
    gx_arena_fini(&arena);
    ck_assert_int_eq(gx_arena_array(&arena, 1, 1, &array, &err), GX_E_TOO_LARGE); /* ended: nothing more */

    gx_arena_init(&arena, SIZE_MAX);
    ck_assert_int_eq(gx_arena_array(&arena, SIZE_MAX / 4, 1, &array, &err), GX_E_NOMEM);
    ck_assert_ptr_null(array);
    (void)alloc(&arena, 100); /* goes on */
    gx_arena_fini(&arena);
}
END_TEST

START_TEST(a_copy_is_the_same_and_apart_from_the_original)
{
    struct gx_arena arena;
    struct gx_err err;
    gx_arena_init(&arena, 1024);
    char original[] = "arrest";
    struct gx_slice copy;
    ck_assert_int_eq(gx_arena_copy(&arena, gx_slice_text(original), &copy, &err), GX_OK);
    original[0] = 'x';
    ck_assert(gx_slice_equal(copy, gx_slice_text("arrest")));
    ck_assert_int_eq(gx_arena_copy(&arena, (struct gx_slice){0}, &copy, &err), GX_OK);
    ck_assert_uint_eq(copy.len, 0);
    ck_assert_ptr_nonnull(copy.data);
    gx_arena_fini(&arena);
}
END_TEST

/* A pattern that stands nowhere but where it is written: made from its index, compared byte by byte. */
#define MARK_LEN 64
static uint8_t mark(size_t i)
{
    return (uint8_t)(0xa5 ^ (i * 37) ^ (i >> 2));
}

static uint8_t window[1 << 20];

static size_t count_marks_in(int memory, uintptr_t from, uintptr_t until)
{
    size_t found = 0;
    for (uintptr_t at = from; at < until;) {
        size_t wanted = GX_MIN(sizeof(window), until - at);
        ssize_t n = pread(memory, window, wanted, (off_t)at);
        if (n < MARK_LEN)
            break;
        const uint8_t *end = window + n, *p = window;
        while ((p = memchr(p, mark(0), (size_t)(end - p))) != NULL) {
            uintptr_t here = at + (uintptr_t)(p - window);
            bool outside = here + MARK_LEN <= (uintptr_t)window || here >= (uintptr_t)(window + sizeof(window));
            size_t same = 0;
            while (outside && same < MARK_LEN && p + same < end && p[same] == mark(same))
                same++;
            found += same == MARK_LEN;
            p++;
        }
        if (at + (size_t)n == until)
            break;
        at += (size_t)n - (MARK_LEN - 1);
    }
    memset(window, 0, sizeof(window));
    return found;
}

/* How often the pattern stands in the writable memory of this process. */
static size_t count_marks(void)
{
    size_t found = 0;
    int memory = open("/proc/self/mem", O_RDONLY);
    FILE *maps = fopen("/proc/self/maps", "r");
    ck_assert_int_ge(memory, 0);
    ck_assert_ptr_nonnull(maps);
    unsigned long from, until;
    char rights[8], line[512];
    while (fgets(line, sizeof(line), maps) != NULL)
        /* Shadow memory of sanitizers is larger. */
        if (sscanf(line, "%lx-%lx %7s", &from, &until, rights) == 3 && strncmp(rights, "rw", 2) == 0 &&
            until - from <= (256ul << 20) && strstr(line, "[v") == NULL)
            found += count_marks_in(memory, from, until);
    (void)fclose(maps);
    (void)close(memory);
    return found;
}

static void write_marks(struct gx_arena *arena)
{
    static const size_t sizes[] = {100, 5000, 20000, 300000};
    for (size_t i = 0; i < GX_COUNT_OF(sizes); i++) {
        uint8_t *p = alloc(arena, sizes[i]);
        memset(p, 0, sizes[i]);
        for (size_t j = 0; j < MARK_LEN; j++)
            p[sizes[i] - MARK_LEN + j] = mark(j);
    }
}

START_TEST(nothing_of_the_contents_stays_in_memory)
{
    struct gx_arena arena;
    gx_arena_init(&arena, 1 << 20);
    write_marks(&arena);
    ck_assert_uint_eq(count_marks(), 4); /* the search does find it */
    gx_arena_reset(&arena);
    ck_assert_uint_eq(count_marks(), 0);
    write_marks(&arena);
    ck_assert_uint_eq(count_marks(), 4);
    gx_arena_fini(&arena);
    ck_assert_uint_eq(count_marks(), 0);
}
END_TEST

START_TEST(a_reset_keeps_at_most_one_small_block)
{
    struct gx_arena arena;
    gx_arena_init(&arena, (size_t)1 << 30);
    for (int i = 0; i < 100; i++)
        (void)alloc(&arena, 100000);
    gx_arena_reset(&arena);
    ck_assert_uint_eq(arena.used, 0);
    uint8_t *first = alloc(&arena, 200000); /* fits what was kept */
    gx_arena_reset(&arena);
    uint8_t *again = alloc(&arena, 1);
    ck_assert_ptr_eq(first, again);
    gx_arena_reset(&arena);
    gx_arena_reset(&arena);
    gx_arena_fini(&arena);

    gx_arena_init(&arena, (size_t)1 << 30);
    (void)alloc(&arena, 1000000);
    gx_arena_reset(&arena);
    ck_assert_ptr_null(arena.blocks); /* too large to keep */
    gx_arena_fini(&arena);
}
END_TEST

START_TEST(an_unused_arena_may_be_ended_and_reset)
{
    struct gx_arena arena = {0};
    gx_arena_reset(&arena);
    gx_arena_fini(&arena);
    gx_arena_fini(&arena);
    gx_arena_init(&arena, 100);
    gx_arena_fini(&arena);
    ck_assert_ptr_null(arena.blocks);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("arena");
    TCase *tc = tcase_create("arena");
    tcase_add_test(tc, pieces_of_any_size_are_aligned_and_apart);
    tcase_add_test(tc, nothing_is_handed_out_past_the_limit);
    tcase_add_test(tc, endless_empty_pieces_meet_the_limit_too);
    tcase_add_test(tc, sizes_that_overflow_are_refused);
    tcase_add_test(tc, an_array_is_cleared_even_where_memory_was_used_before);
    tcase_add_test(tc, what_is_too_much_is_told_from_what_cannot_be_had);
    tcase_add_test(tc, a_copy_is_the_same_and_apart_from_the_original);
    tcase_add_test(tc, nothing_of_the_contents_stays_in_memory);
    tcase_add_test(tc, a_reset_keeps_at_most_one_small_block);
    tcase_add_test(tc, an_unused_arena_may_be_ended_and_reset);
    suite_add_tcase(suite, tc);
    return gx_suite_run(suite);
}
