/* Reflection over the real schemas: a client that has none can list, look up and decode everything. */
#include "reflection.h"

#include <stdlib.h>

#include "grpc/reflection/v1/reflection.pb-c.h"
#include "rpc_scene.h"
#include "schema_fds.h"

#define V1      "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
#define V1ALPHA "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"

#define CASE(name) GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##name

static struct gx_rpc_scene scene;
static struct gx_err err;

static const struct gx_route routes[] = {
    {V1, GX_RPC_BIDI, GX_RPC_INLINE, 4096, gx_reflection_info, NULL},
    {V1ALPHA, GX_RPC_BIDI, GX_RPC_INLINE, 4096, gx_reflection_info, NULL},
};

static void start(void)
{
    ck_assert_msg(gx_reflection_init(&err) == GX_OK, "%s", err.text);
    gx_rpc_scene_start(&scene, (struct gx_rpc_options){0}, routes, GX_COUNT_OF(routes), NULL);
}

static void stop(void)
{
    gx_rpc_scene_stop(&scene);
    gx_reflection_fini();
}

/* Asks @kind about @text on the stream @call. */
static Grpc__Reflection__V1__ServerReflectionResponse *ask(struct gx_grpc_call *call, int kind, const char *text)
{
    uint8_t out[256], *data;
    size_t len;
    Grpc__Reflection__V1__ExtensionRequest extension = GRPC__REFLECTION__V1__EXTENSION_REQUEST__INIT;
    Grpc__Reflection__V1__ServerReflectionRequest q;
    grpc__reflection__v1__server_reflection_request__init(&q);
    q.host = (ProtobufCBinaryData){4, (uint8_t[]){'h', 'o', 's', 't'}};
    q.message_request_case = (Grpc__Reflection__V1__ServerReflectionRequest__MessageRequestCase)kind;
    if (kind == CASE(FILE_CONTAINING_EXTENSION))
        q.file_containing_extension = &extension;
    else
        q.file_by_filename = (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text}; /* all share the place */
    ck_assert_uint_le(grpc__reflection__v1__server_reflection_request__get_packed_size(&q), sizeof(out));
    ck_assert(gx_grpc_client_send(call, out, grpc__reflection__v1__server_reflection_request__pack(&q, out)));
    ck_assert(gx_grpc_client_receive(call, &data, &len));
    Grpc__Reflection__V1__ServerReflectionResponse *r =
        grpc__reflection__v1__server_reflection_response__unpack(NULL, len, data);
    ck_assert_ptr_nonnull(r);
    ck_assert_uint_eq(r->valid_host.len, 4);
    ck_assert_ptr_nonnull(r->original_request);
    ck_assert_int_eq((int)r->original_request->message_request_case, kind);
    free(data);
    return r;
}

static void free_answer(Grpc__Reflection__V1__ServerReflectionResponse *r)
{
    grpc__reflection__v1__server_reflection_response__free_unpacked(r, NULL);
}

static struct gx_grpc_call *begin(const char *path)
{
    return gx_grpc_client_begin(&scene.client, path, PATIENT, NULL, NULL);
}

static void end(struct gx_grpc_call *call)
{
    ck_assert(gx_grpc_client_half_close(call));
    ck_assert_int_eq(gx_grpc_client_end(call, NULL), OK);
}

/* A FileDescriptorProto begins with its name: field 1, under 128 bytes. */
static bool is_named(ProtobufCBinaryData file, const char *name)
{
    size_t len = strlen(name);
    return file.len > len + 2 && file.data[0] == 10 && file.data[1] == len && memcmp(file.data + 2, name, len) == 0;
}

/* Checks that the answer is @file and then what it imports, each as it stands in the embedded set. */
static void check_files(struct gx_grpc_call *call, int kind, const char *text, const char *const *files, size_t n_files)
{
    Grpc__Reflection__V1__ServerReflectionResponse *r = ask(call, kind, text);
    ck_assert_msg((int)r->message_response_case == 4, "%s", text);
    Grpc__Reflection__V1__FileDescriptorResponse *f = r->file_descriptor_response;
    ck_assert_uint_eq(f->n_file_descriptor_proto, n_files);
    for (size_t i = 0; i < n_files; i++) {
        ProtobufCBinaryData bytes = f->file_descriptor_proto[i];
        ck_assert_msg(is_named(bytes, files[i]), "%s: file %zu is not %s", text, i, files[i]);
        ck_assert_ptr_nonnull(memmem(gx_schema_fds, gx_schema_fds_len, bytes.data, bytes.len));
    }
    free_answer(r);
}

static void check_error(struct gx_grpc_call *call, int kind, const char *text, int code)
{
    Grpc__Reflection__V1__ServerReflectionResponse *r = ask(call, kind, text);
    ck_assert_int_eq((int)r->message_response_case, 7);
    ck_assert_int_eq(r->error_response->error_code, code);
    ck_assert_uint_gt(r->error_response->error_message.len, 0);
    free_answer(r);
}

START_TEST(every_service_is_listed_once)
{
    static const char *const expected[] = {
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "indexd.v1.Backups",
        "indexd.v1.Expungement",
        "indexd.v1.Galleries",
        "indexd.v1.Holds",
        "indexd.v1.Records",
        "indexd.v1.Search",
    };
    start();
    struct gx_grpc_call *call = begin(V1);
    Grpc__Reflection__V1__ServerReflectionResponse *r = ask(call, CASE(LIST_SERVICES), "*");
    ck_assert_int_eq((int)r->message_response_case, 6);
    ck_assert_uint_eq(r->list_services_response->n_service, GX_COUNT_OF(expected));
    for (size_t i = 0; i < GX_COUNT_OF(expected); i++) {
        ProtobufCBinaryData name = r->list_services_response->service[i]->name;
        ck_assert(gx_slice_equal((struct gx_slice){name.data, name.len}, gx_slice_text(expected[i])));
    }
    free_answer(r);
    end(call);
    stop();
}
END_TEST

START_TEST(file_comes_first_and_what_it_imports_behind_it)
{
    static const char *const search[] = {"indexd/v1/search.proto", "indexd/v1/types.proto"};
    static const char *const health[] = {"grpc/health/v1/health.proto"};
    start();
    struct gx_grpc_call *call = begin(V1);
    check_files(call, CASE(FILE_BY_FILENAME), search[0], search, 2);
    check_files(call, CASE(FILE_BY_FILENAME), search[1], search + 1, 1);
    check_files(call, CASE(FILE_BY_FILENAME), health[0], health, 1);
    end(call);
    stop();
}
END_TEST

START_TEST(symbols_of_every_kind_lead_to_their_file)
{
    static const char *const symbols[] = {
        "indexd.v1.Search",                           /* service */
        "indexd.v1.Search.BatchSearch",               /* method */
        "indexd.v1.SearchOptions",                    /* message */
        "indexd.v1.SearchOptions.min_cosine",         /* field */
        "indexd.v1.BatchSearchResponse.Result",       /* nested message */
        "indexd.v1.BatchSearchResponse.Result.stats", /* its field */
        "indexd.v1.StreamSearchResponse.result",      /* oneof */
    };
    static const char *const enums[] = {
        "grpc.health.v1.HealthCheckResponse.ServingStatus",
        "grpc.health.v1.HealthCheckResponse.NOT_SERVING", /* values stand beside their enum */
    };
    static const char *const search[] = {"indexd/v1/search.proto", "indexd/v1/types.proto"};
    static const char *const health[] = {"grpc/health/v1/health.proto"};
    start();
    struct gx_grpc_call *call = begin(V1);
    for (size_t i = 0; i < GX_COUNT_OF(symbols); i++)
        check_files(call, CASE(FILE_CONTAINING_SYMBOL), symbols[i], search, 2);
    for (size_t i = 0; i < GX_COUNT_OF(enums); i++)
        check_files(call, CASE(FILE_CONTAINING_SYMBOL), enums[i], health, 1);
    end(call);
    stop();
}
END_TEST

START_TEST(both_versions_of_the_protocol_answer_alike)
{
    static const char *const alpha[] = {"grpc/reflection/v1alpha/reflection.proto"};
    start();
    struct gx_grpc_call *call = begin(V1ALPHA);
    check_files(call, CASE(FILE_CONTAINING_SYMBOL), "grpc.reflection.v1alpha.ServerReflection", alpha, 1);
    check_error(call, CASE(FILE_BY_FILENAME), "none.proto", NOT_FOUND);
    end(call);
    stop();
}
END_TEST

START_TEST(unknown_names_are_not_found_and_the_stream_goes_on)
{
    static const char *const unknown[] = {
        "",   "indexd", "indexd.v1",        "indexd.v1.Searc",          "indexd.v1.Search2", "indexd.v1.Search.",
        ".x", "Search", "indexd.v1.search", "indexd.v1.Search.Search.x"};
    static const char *const health[] = {"grpc/health/v1/health.proto"};
    start();
    struct gx_grpc_call *call = begin(V1);
    for (size_t i = 0; i < GX_COUNT_OF(unknown); i++) {
        check_error(call, CASE(FILE_CONTAINING_SYMBOL), unknown[i], NOT_FOUND);
        check_error(call, CASE(FILE_BY_FILENAME), unknown[i], NOT_FOUND);
    }
    check_files(call, CASE(FILE_CONTAINING_SYMBOL), "grpc.health.v1.Health", health, 1);
    end(call);
    stop();
}
END_TEST

START_TEST(extensions_are_unimplemented)
{
    start();
    struct gx_grpc_call *call = begin(V1);
    check_error(call, CASE(FILE_CONTAINING_EXTENSION), "", UNIMPLEMENTED);
    check_error(call, CASE(ALL_EXTENSION_NUMBERS_OF_TYPE), "indexd.v1.Search", UNIMPLEMENTED);
    end(call);
    stop();
}
END_TEST

START_TEST(malformed_and_empty_requests_do_no_harm)
{
    static const uint8_t truncated[] = {3 << 3 | 2, 9, 'a'};
    uint8_t *data;
    size_t len;
    start();
    struct gx_grpc_call *call = begin(V1);
    ck_assert(gx_grpc_client_send(call, "", 0)); /* asks nothing */
    ck_assert(gx_grpc_client_receive(call, &data, &len));
    Grpc__Reflection__V1__ServerReflectionResponse *r =
        grpc__reflection__v1__server_reflection_response__unpack(NULL, len, data);
    ck_assert_int_eq((int)r->message_response_case, 7);
    ck_assert_int_eq(r->error_response->error_code, UNIMPLEMENTED);
    free_answer(r);
    free(data);
    ck_assert(gx_grpc_client_send(call, truncated, sizeof(truncated)));
    ck_assert_int_eq(gx_grpc_client_end(call, NULL), INVALID_ARGUMENT);

    /* Unknown fields unpack to many times their size: refused, not swallowed. */
    static uint8_t many[4096];
    for (size_t i = 0; i + 1 < sizeof(many); i += 2)
        many[i] = 15 << 3 | 0;
    call = begin(V1);
    ck_assert(gx_grpc_client_send(call, many, sizeof(many)));
    ck_assert_int_eq(gx_grpc_client_end(call, NULL), RESOURCE_EXHAUSTED);
    stop();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        every_service_is_listed_once,
        file_comes_first_and_what_it_imports_behind_it,
        symbols_of_every_kind_lead_to_their_file,
        both_versions_of_the_protocol_answer_alike,
        unknown_names_are_not_found_and_the_stream_goes_on,
        extensions_are_unimplemented,
        malformed_and_empty_requests_do_no_harm,
    };
    return gx_rpc_scene_run("reflection", tests, GX_COUNT_OF(tests));
}
