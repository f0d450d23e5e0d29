/* What the tests of wire share: messages built with protobuf-c, and what a refusal must look like. */
#ifndef GX_TESTS_WIRE_MESSAGES_H
#define GX_TESTS_WIRE_MESSAGES_H

#include <check.h>
#include <stdlib.h>

#include "indexd/v1/types.pb-c.h"
#include "wire.h"

#define ARENA_MAX ((size_t)64 << 20)
#define DIM       4
#define SECRET    "secret-7f3a" /* stands in texts that must not appear in errors */

static struct {
    struct gx_arena arena;
    struct gx_err err;
    uint8_t *wire; /* the last message packed, behind one spare byte: at an odd address, of exactly its length */
    size_t wire_len;

    /* An embedding and an attribute, to hang into requests and to be changed. */
    float values[DIM];
    uint8_t le[4 * DIM];
    Indexd__V1__Embedder embedder;
    Indexd__V1__Embedding embedding;
    Indexd__V1__Attribute attribute;
    Indexd__V1__Attribute *attributes[GX_ATTRIBUTES_MAX + 1];
} t;

static inline ProtobufCBinaryData bytes(const char *text)
{
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

static inline ProtobufCBinaryData bytes_nul(const char *text)
{
    return (ProtobufCBinaryData){strlen(text) + 1, (uint8_t *)(uintptr_t)text};
}

static inline void messages_begin(void)
{
    static const float values[DIM] = {0.5f, -1.5f, 2, 0};
    gx_arena_init(&t.arena, ARENA_MAX);
    t.err = (struct gx_err){0};
    t.wire = NULL;
    memcpy(t.values, values, sizeof(values));
    memcpy(t.le, values, sizeof(values));
    indexd__v1__embedder__init(&t.embedder);
    t.embedder.id = bytes("edgeface-xs");
    t.embedder.version = bytes("2024-03");
    indexd__v1__embedding__init(&t.embedding);
    t.embedding.f32le = (ProtobufCBinaryData){sizeof(t.le), t.le};
    t.embedding.embedder = &t.embedder;
    indexd__v1__attribute__init(&t.attribute);
    t.attribute.key = bytes("county");
    t.attribute.value = bytes("Zürich");
    for (size_t i = 0; i <= GX_ATTRIBUTES_MAX; i++)
        t.attributes[i] = &t.attribute;
}

static inline void messages_end(void)
{
    gx_arena_fini(&t.arena);
    free(t.wire);
    t.wire = NULL;
}

static inline struct gx_slice pack(const void *message)
{
    free(t.wire);
    t.wire_len = protobuf_c_message_get_packed_size(message);
    t.wire = malloc(t.wire_len + 1);
    ck_assert_ptr_nonnull(t.wire);
    ck_assert_uint_eq(protobuf_c_message_pack(message, t.wire + 1), t.wire_len);
    return (struct gx_slice){t.wire + 1, t.wire_len};
}

static inline bool equals(struct gx_slice slice, const char *text)
{
    return gx_slice_equal(slice, gx_slice_text(text));
}

/* Refused: with this status, in one line that names the field and gives nothing else away. */
static inline void assert_refused(enum gx_status status, enum gx_status wanted, const char *field)
{
    ck_assert_msg(status == wanted && t.err.status == wanted, "%s: status %d: %s", field, (int)status, t.err.text);
    ck_assert_msg(strstr(t.err.text, field) != NULL, "'%s' does not name '%s'", t.err.text, field);
    ck_assert_ptr_null(strchr(t.err.text, '\n'));
    ck_assert_msg(strstr(t.err.text, "secret") == NULL, "'%s' gives a text away", t.err.text);
    t.err = (struct gx_err){0};
}

static inline int run_suite(const char *name, const TTest *const *tests, size_t n)
{
    Suite *suite = suite_create(name);
    TCase *tcase = tcase_create(name);
    tcase_add_checked_fixture(tcase, messages_begin, messages_end);
    for (size_t i = 0; i < n; i++)
        tcase_add_test(tcase, tests[i]);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
