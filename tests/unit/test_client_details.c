/* Promises of client/details.h, error.h and bump.h. */
#include "details.h"

#include <check.h>
#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "bump.h"
#include "google/rpc/status.pb-c.h"

static ProtobufCBinaryData bytes(const char *text)
{
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)text};
}

/* A google.rpc.Status with one ErrorInfo, and a RetryInfo where @delay_ms is not 0; returns its length. */
static size_t pack(const char *reason, const char *domain, int delay_ms, uint8_t out[512])
{
    Google__Rpc__ErrorInfo info = GOOGLE__RPC__ERROR_INFO__INIT;
    info.reason = bytes(reason);
    info.domain = bytes(domain);
    uint8_t packed_info[128], packed_retry[64];
    Google__Rpc__Any any[2] = {GOOGLE__RPC__ANY__INIT, GOOGLE__RPC__ANY__INIT};
    any[0].type_url = bytes("type.googleapis.com/google.rpc.ErrorInfo");
    any[0].value = (ProtobufCBinaryData){google__rpc__error_info__pack(&info, packed_info), packed_info};
    Google__Rpc__RetryInfo retry = GOOGLE__RPC__RETRY_INFO__INIT;
    Google__Rpc__RetryInfo__Duration delay = GOOGLE__RPC__RETRY_INFO__DURATION__INIT;
    delay.seconds = delay_ms / 1000;
    delay.nanos = delay_ms % 1000 * 1000000;
    retry.retry_delay = &delay;
    any[1].type_url = bytes("type.googleapis.com/google.rpc.RetryInfo");
    any[1].value = (ProtobufCBinaryData){google__rpc__retry_info__pack(&retry, packed_retry), packed_retry};
    Google__Rpc__Any *list[] = {&any[0], &any[1]};
    Google__Rpc__Status status = GOOGLE__RPC__STATUS__INIT;
    status.n_details = delay_ms != 0 ? 2 : 1;
    status.details = list;
    return google__rpc__status__pack(&status, out);
}

static struct gx_details read(int code, const char *message, const uint8_t *bin, size_t len)
{
    struct gx_details d;
    gx_details_read(code, message, strlen(message), bin, len, &d);
    return d;
}

START_TEST(every_status_of_the_table_comes_back_from_its_reason)
{
    static const enum gx_status all[] = {
#define VALUE(name, number, grpc, text) name,
        GX_STATUS_MAP(VALUE)
#undef VALUE
    };
    for (size_t i = 1; i < sizeof(all) / sizeof(all[0]); i++) {
        uint8_t bin[512];
        size_t len = pack(gx_status_name(all[i]), "indexd", 0, bin);
        struct gx_details d = read(gx_status_grpc(all[i]), "what to do", bin, len);
        ck_assert_int_eq(d.status, all[i]);
        ck_assert(d.from_server);
        ck_assert_str_eq(d.text, "what to do");
    }
}
END_TEST

START_TEST(reason_of_a_foreign_domain_counts_for_nothing)
{
    uint8_t bin[512];
    size_t len = pack("EXPUNGED", "somebody.else", 0, bin);
    struct gx_details d = read(9, "text", bin, len);
    ck_assert_int_eq(d.status, GX_E_STATE);
    ck_assert(!d.from_server);
}
END_TEST

START_TEST(unknown_reason_leaves_the_status_to_the_code)
{
    uint8_t bin[512];
    size_t len = pack("INVENTED_LATER", "indexd", 0, bin);
    struct gx_details d = read(5, "text", bin, len);
    ck_assert_int_eq(d.status, GX_E_NOT_FOUND);
    ck_assert(d.from_server);
}
END_TEST

START_TEST(wish_for_a_pause_is_read_and_bounded)
{
    uint8_t bin[512];
    size_t len = pack("BUSY", "indexd", 1500, bin);
    struct gx_details d = read(8, "text", bin, len);
    ck_assert_int_eq(d.retry_delay_us, 1500000);
    len = pack("BUSY", "indexd", 2000000000, bin);
    d = read(8, "text", bin, len);
    ck_assert_int_eq(d.retry_delay_us, 10000000);
}
END_TEST

START_TEST(code_alone_gives_a_status_for_all_codes)
{
    static const enum gx_status want[] = {
        GX_OK,          GX_E_CANCELLED, GX_E_INTERNAL,      GX_E_INVALID,  GX_E_DEADLINE,
        GX_E_NOT_FOUND, GX_E_EXISTS,    GX_E_DENIED,        GX_E_BUSY,     GX_E_STATE,
        GX_E_COUNT,     GX_E_INVALID,   GX_E_UNIMPLEMENTED, GX_E_INTERNAL, GX_E_UNAVAILABLE,
        GX_E_CORRUPT,   GX_E_DENIED,
    };
    for (int code = 0; code <= 16; code++)
        ck_assert_int_eq(read(code, "text", NULL, 0).status, want[code]);
    ck_assert_int_eq(read(17, "text", NULL, 0).status, GX_E_INTERNAL);
    ck_assert_int_eq(read(-1, "text", NULL, 0).status, GX_E_INTERNAL);
    ck_assert_str_eq(read(14, "", NULL, 0).text, gx_status_text(GX_E_UNAVAILABLE));
}
END_TEST

START_TEST(a_limit_of_the_library_below_is_not_tried_again)
{
    struct gx_details d = read(8, "Received message larger than max (70000000 vs. 67108864)", NULL, 0);
    ck_assert_int_eq(d.status, GX_E_TOO_LARGE);
    ck_assert(!gx_details_is_passing(d.status));
    ck_assert(gx_details_is_passing(GX_E_BUSY));
    ck_assert(gx_details_is_passing(GX_E_UNAVAILABLE));
    ck_assert(!gx_details_is_passing(GX_E_DEADLINE));
    ck_assert(!gx_details_is_passing(GX_E_FULL));
}
END_TEST

/* Exact-size copies, so that a sanitizer sees a read too far. */
START_TEST(damaged_details_are_left_out)
{
    uint8_t bin[512];
    size_t len = pack("EXPUNGED", "indexd", 1500, bin);
    for (size_t cut = 0; cut < len; cut++) {
        uint8_t *copy = malloc(cut > 0 ? cut : 1);
        ck_assert_ptr_nonnull(copy);
        memcpy(copy, bin, cut);
        struct gx_details d = read(9, "text", copy, cut);
        ck_assert(d.status == GX_E_STATE || d.status == GX_E_EXPUNGED);
        free(copy);
    }
    for (size_t i = 0; i < len * 8; i++) {
        uint8_t flipped[512];
        memcpy(flipped, bin, len);
        flipped[i / 8] = (uint8_t)(flipped[i / 8] ^ 1u << i % 8);
        struct gx_details d = read(9, "text", flipped, len);
        ck_assert(d.status == GX_E_STATE || d.status == GX_E_EXPUNGED);
        ck_assert_int_ge(d.retry_delay_us, 0);
    }
}
END_TEST

START_TEST(long_text_is_cut_and_stays_one_line)
{
    char message[2000];
    memset(message, 'x', sizeof(message) - 1);
    message[sizeof(message) - 1] = '\0';
    struct gx_details d = read(13, message, NULL, 0);
    ck_assert_uint_eq(strlen(d.text), sizeof(d.text) - 1);
    ck_assert_int_eq(gx_error_set(GX_E_IO, "a\nb\x1b[31m%s", "c\r"), GX_E_IO);
    ck_assert_str_eq(gx_error_text(), "a b [31mc ");
    (void)gx_error_set(GX_E_IO, "%s again", gx_error_text());
    ck_assert_str_eq(gx_error_text(), "a b [31mc  again");
    gx_error_clear();
    ck_assert_str_eq(gx_error_text(), "");
}
END_TEST

START_TEST(pieces_of_a_bump_are_zeroed_aligned_and_ended_by_a_zero)
{
    struct gx_bump b;
    gx_bump_init(&b, 1 << 20);
    for (size_t size = 0; size < 600; size++) {
        uint8_t *p = gx_bump_alloc(&b, size);
        ck_assert_ptr_nonnull(p);
        ck_assert_uint_eq((uintptr_t)p % alignof(max_align_t), 0);
        for (size_t i = 0; i <= size; i++)
            ck_assert_uint_eq(p[i], 0);
        memset(p, 0xff, size);
    }
    gx_bump_fini(&b);
    gx_bump_fini(&b);
}
END_TEST

START_TEST(a_bump_gives_no_more_than_its_limit)
{
    struct gx_bump b;
    gx_bump_init(&b, 1000);
    ck_assert_ptr_null(gx_bump_alloc(&b, 1000));
    ck_assert_ptr_null(gx_bump_alloc(&b, SIZE_MAX));
    size_t n = 0;
    while (gx_bump_alloc(&b, 10) != NULL)
        n++;
    ck_assert_uint_ge(n, 1000 / 32);
    ck_assert_uint_le(n, 1000 / 10);
    gx_bump_fini(&b);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client_details");
    TCase *t = tcase_create("all");
    tcase_add_test(t, every_status_of_the_table_comes_back_from_its_reason);
    tcase_add_test(t, reason_of_a_foreign_domain_counts_for_nothing);
    tcase_add_test(t, unknown_reason_leaves_the_status_to_the_code);
    tcase_add_test(t, wish_for_a_pause_is_read_and_bounded);
    tcase_add_test(t, code_alone_gives_a_status_for_all_codes);
    tcase_add_test(t, a_limit_of_the_library_below_is_not_tried_again);
    tcase_add_test(t, damaged_details_are_left_out);
    tcase_add_test(t, long_text_is_cut_and_stays_one_line);
    tcase_add_test(t, pieces_of_a_bump_are_zeroed_aligned_and_ended_by_a_zero);
    tcase_add_test(t, a_bump_gives_no_more_than_its_limit);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
