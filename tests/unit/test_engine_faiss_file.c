/* Promises of engine.h for the FAISS engines: what is saved, and what stays behind in memory. */
#include "engine.h"

#include <check.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "suite.h"
#include "trained.h"

#define DIM GX_TRAINED_DIM
#define N   GX_TRAINED_ROWS

static struct gx_trained *const t = &gx_trained;
static struct gx_err err;

#define OK(call) ck_assert_msg((call) == GX_OK, "seed %d: %s", GX_TRAINED_SEED, err.text)

static void check_saved_index_answers_as_before(int form)
{
    struct gx_engine *copy = gx_trained_copy(t->forms[form].engine);
    struct gx_engine_stats stats;
    gx_engine_stats(copy, &stats);
    ck_assert_uint_eq(stats.entries, N);
    for (size_t r = 0; r < N; r += 41) {
        struct gx_trained_answer before, after;
        float effort = (float)(r % 5) / 4;
        gx_trained_ask(t->forms[form].engine, t->rows[r], effort, &before);
        gx_trained_ask(copy, t->rows[r], effort, &after);
        ck_assert_msg(gx_trained_same(&before, &after), "%s", t->forms[form].text);
    }
    float fresh[DIM];
    gx_trained_fresh(fresh);
    uint64_t rno = 500000;
    struct gx_trained_answer answer;
    OK(gx_engine_add(copy, &rno, fresh, 1, &err));
    gx_trained_ask(copy, fresh, 0.6f, &answer);
    ck_assert_msg(gx_trained_holds(&answer, rno), "%s", t->forms[form].text);
    gx_engine_unref(copy);
}

START_TEST(a_saved_index_answers_as_before)
{
    for (int form = 0; form < GX_TRAINED_FORMS; form++)
        check_saved_index_answers_as_before(form);
}
END_TEST

static void write_bytes(const void *bytes, size_t n)
{
    int fd = open(t->path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, bytes, n), (ssize_t)n);
    close(fd);
}

static enum gx_status load(const struct gx_engine_spec *spec, size_t dim)
{
    struct gx_engine *engine;
    enum gx_status status = gx_engine_load(spec, dim, NULL, t->path, 1, &engine, &err);
    ck_assert((status == GX_OK) == (engine != NULL));
    gx_engine_unref(engine);
    return status;
}

static void check_damaged_file_is_refused(int form)
{
    static const int picks[] = {0, 2, 6, 9, 11};
    struct gx_engine *engine = t->forms[picks[form]].engine;
    OK(gx_engine_save(engine, t->path, &err));
    FILE *f = fopen(t->path, "rb");
    static uint8_t bytes[2 << 20];
    ck_assert_ptr_nonnull(f);
    size_t len = fread(bytes, 1, sizeof(bytes), f);
    fclose(f);
    ck_assert(len > 1000 && len < sizeof(bytes));
    for (size_t cut = 0; cut < len; cut += 1 + len / 40) {
        write_bytes(bytes, cut);
        ck_assert_msg(load(&engine->spec, DIM) == GX_E_CORRUPT, "cut to %zu of %zu: %s", cut, len, err.text);
    }
    write_bytes(bytes, len - 1);
    ck_assert_int_eq(load(&engine->spec, DIM), GX_E_CORRUPT);
    uint8_t garbage[4096];
    for (size_t i = 0; i < sizeof(garbage); i++)
        garbage[i] = (uint8_t)(i * 37);
    write_bytes(garbage, sizeof(garbage));
    ck_assert_int_eq(load(&engine->spec, DIM), GX_E_CORRUPT);
    /* a head that is right with something else behind it */
    size_t payload = form == 4 ? 128 + DIM * DIM * 4 : 128;
    memset(bytes + payload, 'x', 4);
    write_bytes(bytes, len);
    ck_assert_int_eq(load(&engine->spec, DIM), GX_E_CORRUPT);
    unlink(t->path);
}

START_TEST(a_damaged_file_is_refused)
{
    for (int form = 0; form < 5; form++)
        check_damaged_file_is_refused(form);
}
END_TEST

START_TEST(bytes_after_the_index_do_not_matter)
{
    struct gx_engine *copy;
    OK(gx_engine_save(t->forms[12].engine, t->path, &err));
    FILE *f = fopen(t->path, "ab");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_ge(fputs("a trailer of the caller's", f), 0);
    fclose(f);
    OK(gx_engine_load(&t->forms[12].engine->spec, DIM, NULL, t->path, 1, &copy, &err));
    struct gx_trained_answer a, b;
    gx_trained_ask(t->forms[12].engine, t->rows[3], 0.5f, &a);
    gx_trained_ask(copy, t->rows[3], 0.5f, &b);
    ck_assert(gx_trained_same(&a, &b));
    gx_engine_unref(copy);
}
END_TEST

START_TEST(a_file_of_another_engine_or_dimension_is_refused)
{
    OK(gx_engine_save(t->forms[2].engine, t->path, &err));
    struct gx_engine_spec other;
    OK(gx_engine_parse(gx_slice_text("faiss:IVF17,SQ8"), DIM, &other, &err));
    ck_assert_int_eq(load(&other, DIM), GX_E_FORMAT);
    OK(gx_engine_parse(gx_slice_text("faiss:IVF16,SQfp16"), DIM, &other, &err));
    ck_assert_int_eq(load(&other, DIM), GX_E_FORMAT);
    ck_assert_int_eq(load(&t->forms[2].engine->spec, DIM + 1), GX_E_FORMAT);
    ck_assert_int_eq(load(&t->forms[2].engine->spec, DIM), GX_OK);
    unlink(t->path);
    ck_assert_int_eq(load(&t->forms[2].engine->spec, DIM), GX_E_IO);
}
END_TEST

START_TEST(a_saved_index_is_for_its_owner_only)
{
    struct stat st;
    umask(0);
    OK(gx_engine_save(t->forms[0].engine, t->path, &err));
    ck_assert_int_eq(stat(t->path, &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0600);
    unlink(t->path);
}
END_TEST

START_TEST(a_full_disk_or_a_missing_directory_fails_the_save)
{
    ck_assert_int_eq(gx_engine_save(t->forms[2].engine, "/dev/full", &err), GX_E_FULL);
    ck_assert_int_eq(gx_engine_save(t->forms[0].engine, "/dev/full", &err), GX_E_FULL);
    ck_assert_int_eq(gx_engine_save(t->forms[2].engine, "/nonexistent/index", &err), GX_E_IO);
    struct gx_trained_answer answer;
    gx_trained_ask(t->forms[2].engine, t->rows[0], 0.6f, &answer);
    ck_assert(gx_trained_holds(&answer, t->rnos[0]));
}
END_TEST

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HAVE_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HAVE_SANITIZER 1
#endif
#endif

#ifndef HAVE_SANITIZER /* they keep freed memory for later */
#define MASK 0x5a5a5a5au

/* How often the four values stand in writable memory of this process; they are masked, or this would find itself. */
static size_t count_in_memory(const uint32_t masked[4])
{
    FILE *maps = fopen("/proc/self/maps", "r");
    ck_assert_ptr_nonnull(maps);
    static struct {
        uintptr_t from, until;
    } ranges[4096];
    size_t n = 0, count = 0;
    char line[512];
    while (fgets(line, sizeof(line), maps) != NULL && n < GX_COUNT_OF(ranges))
        if (strstr(line, " rw-p ") != NULL && sscanf(line, "%lx-%lx", &ranges[n].from, &ranges[n].until) == 2)
            n++;
    fclose(maps);
    for (size_t i = 0; i < n; i++)
        for (uintptr_t at = ranges[i].from; at + 16 <= ranges[i].until; at += 4) {
            const volatile uint32_t *p = (const volatile uint32_t *)at;
            if ((p[0] ^ MASK) == masked[0] && (p[1] ^ MASK) == masked[1] && (p[2] ^ MASK) == masked[2] &&
                (p[3] ^ MASK) == masked[3])
                count++;
        }
    return count;
}

static void check_index_keeps_no_copy_of_a_removed_row(int form)
{
    mallopt(M_PERTURB, 0x6b); /* freed blocks are overwritten: what is found then, the index holds */
    struct gx_engine *copy = gx_trained_copy(t->forms[form].engine); /* 0: Flat, 1: IVF16,Flat: codes are the floats */
    const size_t n = 12;                                             /* the last is the one that we look for */
    float *fresh = malloc(n * DIM * sizeof(float));
    uint64_t fresh_rnos[12];
    uint32_t masked[4];
    for (size_t i = 0; i < n; i++) {
        fresh_rnos[i] = 700000 + i;
        gx_trained_fresh(fresh + i * DIM);
    }
    memcpy(masked, fresh + (n - 1) * DIM + 8, sizeof(masked));
    for (size_t i = 0; i < 4; i++)
        masked[i] ^= MASK;
    ck_assert_uint_ge(count_in_memory(masked), 1);
    OK(gx_engine_add(copy, fresh_rnos, fresh, n, &err));
    explicit_bzero(fresh, n * DIM * sizeof(float));
    free(fresh);
    ck_assert_uint_eq(count_in_memory(masked), 1);
    size_t n_removed;
    OK(gx_engine_remove(copy, fresh_rnos + n - 1, 1, &n_removed, &err));
    ck_assert_uint_eq(n_removed, 1);
    ck_assert_uint_eq(count_in_memory(masked), 0);
    gx_engine_unref(copy);
}

START_TEST(the_index_keeps_no_copy_of_a_removed_row)
{
    for (int form = 0; form < 2; form++)
        check_index_keeps_no_copy_of_a_removed_row(form);
}
END_TEST
#endif

int main(void)
{
    Suite *suite = suite_create("engine_faiss_file");
    TCase *tc = tcase_create("engine_faiss_file");
    tcase_set_timeout(tc, 60);
    tcase_add_unchecked_fixture(tc, gx_trained_begin, gx_trained_end);
    tcase_add_test(tc, a_saved_index_answers_as_before);
    tcase_add_test(tc, a_damaged_file_is_refused);
    tcase_add_test(tc, bytes_after_the_index_do_not_matter);
    tcase_add_test(tc, a_file_of_another_engine_or_dimension_is_refused);
    tcase_add_test(tc, a_saved_index_is_for_its_owner_only);
    tcase_add_test(tc, a_full_disk_or_a_missing_directory_fails_the_save);
#ifndef HAVE_SANITIZER
    tcase_add_test(tc, the_index_keeps_no_copy_of_a_removed_row);
#endif
    suite_add_tcase(suite, tc);
    return gx_suite_run(suite);
}
