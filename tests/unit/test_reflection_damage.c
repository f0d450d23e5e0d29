/* The index of the schemas over damaged ones: this program brings a descriptor set of its own, small and then damaged
 * in every way. Whatever is wrong with it is said at start, and nothing outside it is read. */
#include <check.h>
#include <stdlib.h>

#include "reflection.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAVE_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define HAVE_ASAN 1
#endif
#if defined(HAVE_ASAN)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n)   ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

#define SET_MAX ((size_t)64 << 10)

/* Stands in for the generated schema_fds.c. */
extern unsigned char gx_schema_fds[SET_MAX];
extern size_t gx_schema_fds_len;
unsigned char gx_schema_fds[SET_MAX];
size_t gx_schema_fds_len;

static struct gx_err err;

/* ---------------------------------------------------------------- building a set */

struct buffer {
    uint8_t bytes[8192];
    size_t len;
};

static void put(struct buffer *b, unsigned field, const void *bytes, size_t len)
{
    ck_assert_uint_lt(b->len + len + 4, sizeof(b->bytes));
    b->bytes[b->len++] = (uint8_t)(field << 3 | 2);
    if (len >= 128)
        b->bytes[b->len++] = (uint8_t)(len | 0x80);
    b->bytes[b->len++] = (uint8_t)(len >= 128 ? len >> 7 : len);
    memcpy(b->bytes + b->len, bytes, len);
    b->len += len;
}

static void put_text(struct buffer *b, unsigned field, const char *text)
{
    put(b, field, text, strlen(text));
}

static void put_all(struct buffer *b, unsigned field, const struct buffer *inner)
{
    put(b, field, inner->bytes, inner->len);
}

/* A descriptor that is nothing but a name. */
static void put_named(struct buffer *b, unsigned field, const char *name)
{
    struct buffer named = {.len = 0};
    put_text(&named, 1, name);
    put_all(b, field, &named);
}

/* Two files; the second imports the first and has something of every kind. */
static void build_set(struct buffer *set)
{
    static struct buffer first, second, message, nested, kinds, service;
    first = second = message = nested = kinds = service = (struct buffer){.len = 0};
    put_text(&first, 1, "a.proto");
    put_named(&first, 4, "Bare");
    put_named(&nested, 2, "inner_field");
    put_text(&nested, 1, "Nested");
    put_text(&kinds, 1, "Kind");
    put_named(&kinds, 2, "ZERO");
    put_text(&message, 1, "Message");
    put_named(&message, 2, "field");
    put_named(&message, 8, "choice");
    put_all(&message, 3, &nested);
    put_all(&message, 4, &kinds);
    put_text(&service, 1, "Service");
    put_named(&service, 2, "Method");
    put_text(&second, 1, "b.proto");
    put_text(&second, 2, "p.q");
    put_text(&second, 3, "a.proto");
    put_all(&second, 4, &message);
    put_all(&second, 5, &kinds);
    put_all(&second, 6, &service);
    second.bytes[second.len++] = 50 << 3 & 0x7f; /* varint, fixed64 and fixed32 that nobody knows */
    second.bytes[second.len++] = 1;
    second.bytes[second.len++] = 9 << 3 | 1;
    second.len += 8;
    second.bytes[second.len++] = 9 << 3 | 5;
    second.len += 4;
    set->len = 0;
    put_all(set, 1, &first);
    put_all(set, 1, &second);
}

/* Makes @len bytes of @bytes the embedded set; what lies behind them may not be read. */
static void embed(const uint8_t *bytes, size_t len)
{
    ASAN_UNPOISON_MEMORY_REGION(gx_schema_fds, SET_MAX);
    memcpy(gx_schema_fds, bytes, len);
    gx_schema_fds_len = len;
    size_t from = (len + 7) & ~(size_t)7;
    ASAN_POISON_MEMORY_REGION(gx_schema_fds + from, SET_MAX - from);
}

static enum gx_status init(const uint8_t *bytes, size_t len)
{
    embed(bytes, len);
    enum gx_status status = gx_reflection_init(&err);
    ck_assert(status == GX_OK || status == GX_E_INTERNAL);
    return status;
}

/* ---------------------------------------------------------------- promises */

START_TEST(whole_set_is_taken)
{
    static struct buffer set;
    build_set(&set);
    ck_assert_msg(init(set.bytes, set.len) == GX_OK, "%s", err.text);
    ck_assert_msg(init(set.bytes, 0) == GX_OK, "%s", err.text); /* no schemas are no damage */
    gx_reflection_fini();
    gx_reflection_fini();
}
END_TEST

START_TEST(cut_off_set_is_refused)
{
    static struct buffer set;
    build_set(&set);
    size_t first_len = 2 + set.bytes[1];
    for (size_t len = 1; len < set.len; len++) {
        if (len == first_len)
            ck_assert_int_eq(init(set.bytes, len), GX_OK);
        else
            ck_assert_msg(init(set.bytes, len) == GX_E_INTERNAL, "cut at %zu", len);
    }
    gx_reflection_fini();
}
END_TEST

START_TEST(damaged_byte_does_no_harm)
{
    static struct buffer set, damaged;
    build_set(&set);
    for (size_t i = 0; i < set.len; i++) {
        for (int value = 0; value < 256; value++) {
            damaged = set;
            damaged.bytes[i] = (uint8_t)value;
            (void)init(damaged.bytes, damaged.len);
        }
    }
    gx_reflection_fini();
}
END_TEST

START_TEST(missing_import_is_refused)
{
    static struct buffer set, file;
    file.len = set.len = 0;
    put_text(&file, 1, "b.proto");
    put_text(&file, 3, "a.proto");
    put_all(&set, 1, &file);
    ck_assert_int_eq(init(set.bytes, set.len), GX_E_INTERNAL);
    ck_assert_ptr_nonnull(strstr(err.text, "import"));
}
END_TEST

START_TEST(bottomless_nesting_is_refused)
{
    static struct buffer set, file, levels[2];
    levels[0].len = 0;
    put_text(&levels[0], 1, "M");
    for (int i = 1; i <= 40; i++) {
        levels[i % 2].len = 0;
        put_text(&levels[i % 2], 1, "M");
        put_all(&levels[i % 2], 3, &levels[(i + 1) % 2]);
    }
    file.len = set.len = 0;
    put_text(&file, 1, "f.proto");
    put_all(&file, 4, &levels[0]);
    put_all(&set, 1, &file);
    ck_assert_int_eq(init(set.bytes, set.len), GX_E_INTERNAL);
}
END_TEST

START_TEST(endless_name_is_refused)
{
    static struct buffer set, file, message;
    char name[600];
    memset(name, 'n', sizeof(name));
    file.len = set.len = message.len = 0;
    put(&message, 1, name, sizeof(name));
    put_text(&file, 1, "f.proto");
    put_all(&file, 4, &message);
    put_all(&set, 1, &file);
    ck_assert_int_eq(init(set.bytes, set.len), GX_E_INTERNAL);
    file.len = set.len = 0;
    put_text(&file, 1, "f.proto");
    put(&file, 2, name, sizeof(name));
    put_all(&set, 1, &file);
    ck_assert_int_eq(init(set.bytes, set.len), GX_E_INTERNAL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("reflection_damage");
    TCase *tc = tcase_create("reflection_damage");
    tcase_add_test(tc, whole_set_is_taken);
    tcase_add_test(tc, cut_off_set_is_refused);
    tcase_add_test(tc, damaged_byte_does_no_harm);
    tcase_add_test(tc, missing_import_is_refused);
    tcase_add_test(tc, bottomless_nesting_is_refused);
    tcase_add_test(tc, endless_name_is_refused);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
