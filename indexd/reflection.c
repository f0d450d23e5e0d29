/* What the server speaks, told to clients that have no schemas: the embedded FileDescriptorSet is indexed once; answers
 * hand out its files byte for byte, the file asked for first, then everything it imports.
 *
 * What can go wrong: the embedded set is malformed (said at start; every read is bounded all the same); a symbol or
 * file that is not there (error_response NOT_FOUND, the stream goes on); extension queries (error_response
 * UNIMPLEMENTED: the schemas have none); a malformed request (the call fails). */
#include "reflection.h"

#include <stdlib.h>

#include "grpc/reflection/v1/reflection.pb-c.h"
#include "schema_fds.h"
#include "wire_private.h"

#define NAME_MAX_LEN 512 /* bytes of a full name */
#define DEPTH_MAX    32  /* messages in messages */
#define UNPACK_ROOM  ((size_t)64 << 10)

#define NOT_FOUND     5 /* canonical gRPC codes */
#define UNIMPLEMENTED 12

/* Fields of google/protobuf/descriptor.proto. */
enum {
    SET_FILE = 1,
    ANY_NAME = 1, /* of every kind of descriptor */
    FILE_PACKAGE = 2,
    FILE_DEPENDENCY = 3,
    FILE_MESSAGE = 4,
    FILE_ENUM = 5,
    FILE_SERVICE = 6,
    MESSAGE_FIELD = 2,
    MESSAGE_NESTED = 3,
    MESSAGE_ENUM = 4,
    MESSAGE_ONEOF = 8,
    ENUM_VALUE = 2,
    SERVICE_METHOD = 2,
};

struct file {
    struct gx_slice name, bytes;
    size_t first_dependency, n_dependencies;
};

struct symbol {
    struct gx_slice name; /* "indexd.v1.Search" */
    size_t file;
    bool service;
};

/* Filled in two rounds: the first only counts (the arrays are NULL), the second writes. */
static struct {
    struct file *files;
    struct gx_slice *dependencies; /* names */
    struct symbol *symbols;        /* sorted by name */
    uint8_t *text;                 /* the symbols' names */
    size_t n_files, n_dependencies, n_symbols, text_len;
} table;

/* ---------------------------------------------------------------- reading protobuf wire */

struct field {
    uint64_t number;
    struct gx_slice bytes; /* of length-delimited fields; else empty */
};

static bool read_varint(struct gx_slice *in, uint64_t *out)
{
    *out = 0;
    for (unsigned shift = 0; shift < 64 && in->len > 0; shift += 7) {
        uint8_t byte = *in->data++;
        in->len--;
        *out |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return true;
    }
    return false;
}

static bool skip(struct gx_slice *in, uint64_t n)
{
    if (n > in->len)
        return false;
    in->data += n;
    in->len -= (size_t)n;
    return true;
}

/* The next field of @in; false: malformed. */
static bool read_field(struct gx_slice *in, struct field *out)
{
    uint64_t tag, n;
    *out = (struct field){.bytes = {(const uint8_t *)"", 0}};
    if (!read_varint(in, &tag))
        return false;
    out->number = tag >> 3;
    switch (tag & 7) {
    case 0: return read_varint(in, &n);
    case 1: return skip(in, 8);
    case 2:
        if (!read_varint(in, &n) || n > in->len)
            return false;
        out->bytes = (struct gx_slice){in->data, (size_t)n};
        return skip(in, n);
    case 5: return skip(in, 4);
    default: return false;
    }
}

/* The first field @number of @message; empty when there is none. */
static struct gx_slice find_field(struct gx_slice message, unsigned number)
{
    struct field f;
    while (message.len > 0 && read_field(&message, &f)) {
        if (f.number == number)
            return f.bytes;
    }
    return (struct gx_slice){(const uint8_t *)"", 0};
}

/* ---------------------------------------------------------------- the index */

/* The full name at which a walk has arrived. */
struct scope {
    uint8_t text[NAME_MAX_LEN];
    size_t len;
};

/* Steps into the descriptor @bytes of the scope; @out_len = what leave() wants back. */
static bool enter(struct scope *scope, struct gx_slice bytes, size_t *out_len)
{
    struct gx_slice name = find_field(bytes, ANY_NAME);
    *out_len = scope->len;
    if (name.len == 0 || scope->len + 1 + name.len > sizeof(scope->text))
        return false;
    if (scope->len > 0)
        scope->text[scope->len++] = '.';
    memcpy(scope->text + scope->len, name.data, name.len);
    scope->len += name.len;
    return true;
}

static void leave(struct scope *scope, size_t len)
{
    scope->len = len;
}

static void add_symbol(const struct scope *scope, bool service)
{
    if (table.symbols != NULL) {
        uint8_t *text = table.text + table.text_len;
        memcpy(text, scope->text, scope->len);
        table.symbols[table.n_symbols] = (struct symbol){{text, scope->len}, table.n_files, service};
    }
    table.n_symbols++;
    table.text_len += scope->len;
}

/* A descriptor that contains no others. */
static bool add_leaf(struct scope *scope, struct gx_slice bytes)
{
    size_t len;
    if (!enter(scope, bytes, &len))
        return false;
    add_symbol(scope, false);
    leave(scope, len);
    return true;
}

/* An enum's values stand beside it, not in it. */
static bool add_enum(struct scope *scope, struct gx_slice bytes)
{
    struct field f;
    if (!add_leaf(scope, bytes))
        return false;
    while (bytes.len > 0) {
        if (!read_field(&bytes, &f) || (f.number == ENUM_VALUE && !add_leaf(scope, f.bytes)))
            return false;
    }
    return true;
}

static bool add_service(struct scope *scope, struct gx_slice bytes)
{
    struct field f;
    size_t len;
    if (!enter(scope, bytes, &len))
        return false;
    add_symbol(scope, true);
    while (bytes.len > 0) {
        if (!read_field(&bytes, &f) || (f.number == SERVICE_METHOD && !add_leaf(scope, f.bytes)))
            return false;
    }
    leave(scope, len);
    return true;
}

static bool add_message(struct scope *scope, struct gx_slice bytes, unsigned depth)
{
    size_t len;
    bool ok = depth < DEPTH_MAX && enter(scope, bytes, &len);
    if (!ok)
        return false;
    add_symbol(scope, false);
    while (ok && bytes.len > 0) {
        struct field f;
        ok = read_field(&bytes, &f);
        if (ok && (f.number == MESSAGE_FIELD || f.number == MESSAGE_ONEOF))
            ok = add_leaf(scope, f.bytes);
        else if (ok && f.number == MESSAGE_NESTED)
            ok = add_message(scope, f.bytes, depth + 1);
        else if (ok && f.number == MESSAGE_ENUM)
            ok = add_enum(scope, f.bytes);
    }
    leave(scope, len);
    return ok;
}

static void add_dependency(struct gx_slice name)
{
    if (table.dependencies != NULL)
        table.dependencies[table.n_dependencies] = name;
    table.n_dependencies++;
}

static bool add_file(struct gx_slice bytes)
{
    struct file file = {find_field(bytes, ANY_NAME), bytes, table.n_dependencies, 0};
    struct gx_slice package = find_field(bytes, FILE_PACKAGE);
    struct scope scope = {.len = package.len};
    if (file.name.len == 0 || package.len > sizeof(scope.text))
        return false;
    memcpy(scope.text, package.data, package.len);
    for (bool ok = true; bytes.len > 0;) {
        struct field f;
        ok = read_field(&bytes, &f);
        if (ok && f.number == FILE_DEPENDENCY)
            add_dependency(f.bytes);
        else if (ok && f.number == FILE_MESSAGE)
            ok = add_message(&scope, f.bytes, 0);
        else if (ok && f.number == FILE_ENUM)
            ok = add_enum(&scope, f.bytes);
        else if (ok && f.number == FILE_SERVICE)
            ok = add_service(&scope, f.bytes);
        if (!ok)
            return false;
    }
    file.n_dependencies = table.n_dependencies - file.first_dependency;
    if (table.files != NULL)
        table.files[table.n_files] = file;
    table.n_files++;
    return true;
}

static bool add_all(void)
{
    struct gx_slice set = {gx_schema_fds, gx_schema_fds_len};
    table.n_files = table.n_dependencies = table.n_symbols = table.text_len = 0;
    while (set.len > 0) {
        struct field f;
        if (!read_field(&set, &f) || (f.number == SET_FILE && !add_file(f.bytes)))
            return false;
    }
    return true;
}

static int compare_symbols(const void *a, const void *b)
{
    return gx_slice_compare(((const struct symbol *)a)->name, ((const struct symbol *)b)->name);
}

/* n_files: not there. */
static size_t find_file(struct gx_slice name)
{
    size_t i = 0;
    while (i < table.n_files && !gx_slice_equal(table.files[i].name, name))
        i++;
    return i;
}

static size_t find_symbol(struct gx_slice name)
{
    const struct symbol key = {.name = name};
    const struct symbol *found = bsearch(&key, table.symbols, table.n_symbols, sizeof(*table.symbols), compare_symbols);
    return found == NULL ? table.n_files : found->file;
}

enum gx_status gx_reflection_init(struct gx_err *err)
{
    gx_reflection_fini();
    if (!add_all())
        return gx_fail(err, GX_E_INTERNAL, "the embedded schemas are malformed: build the server anew");
    table.files = calloc(table.n_files + 1, sizeof(*table.files));
    table.dependencies = calloc(table.n_dependencies + 1, sizeof(*table.dependencies));
    table.symbols = calloc(table.n_symbols + 1, sizeof(*table.symbols));
    table.text = calloc(table.text_len + 1, 1);
    if (table.files == NULL || table.dependencies == NULL || table.symbols == NULL || table.text == NULL) {
        gx_reflection_fini();
        return gx_fail(err, GX_E_NOMEM, "no memory for the index of the schemas");
    }
    (void)add_all();
    qsort(table.symbols, table.n_symbols, sizeof(*table.symbols), compare_symbols);
    for (size_t i = 0; i < table.n_dependencies; i++) {
        if (find_file(table.dependencies[i]) == table.n_files) {
            gx_reflection_fini();
            return gx_fail(err, GX_E_INTERNAL, "the embedded schemas lack a file they import: build the server anew");
        }
    }
    return GX_OK;
}

void gx_reflection_fini(void)
{
    free(table.files);
    free(table.dependencies);
    free(table.symbols);
    free(table.text);
    memset(&table, 0, sizeof(table));
}

/* ---------------------------------------------------------------- answers */

struct answer {
    Grpc__Reflection__V1__ServerReflectionResponse response;
    union {
        Grpc__Reflection__V1__FileDescriptorResponse files;
        Grpc__Reflection__V1__ListServiceResponse services;
        Grpc__Reflection__V1__ErrorResponse error;
    } body;
};

static ProtobufCBinaryData binary(struct gx_slice s)
{
    return (ProtobufCBinaryData){s.len, (uint8_t *)(uintptr_t)s.data};
}

static void answer_error(struct answer *a, int code, const char *text)
{
    grpc__reflection__v1__error_response__init(&a->body.error);
    a->body.error.error_code = code;
    a->body.error.error_message = binary(gx_slice_text(text));
    a->response.message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE;
    a->response.error_response = &a->body.error;
}

/* @file and what it imports, each once. */
static enum gx_status answer_file(struct answer *a, struct gx_arena *arena, size_t file, struct gx_err *err)
{
    size_t *order, n = 0;
    bool *seen;
    ProtobufCBinaryData *files;
    if (file == table.n_files) {
        answer_error(a, NOT_FOUND, "not among the schemas of this server: ask for list_services");
        return GX_OK;
    }
    GX_TRY(gx_arena_array(arena, table.n_files, sizeof(*order), &order, err));
    GX_TRY(gx_arena_array(arena, table.n_files, sizeof(*seen), &seen, err));
    GX_TRY(gx_arena_array(arena, table.n_files, sizeof(*files), &files, err));
    order[n++] = file;
    seen[file] = true;
    for (size_t i = 0; i < n; i++) {
        const struct file *f = &table.files[order[i]];
        files[i] = binary(f->bytes);
        for (size_t d = 0; d < f->n_dependencies; d++) {
            size_t next = find_file(table.dependencies[f->first_dependency + d]);
            if (!seen[next])
                order[n++] = next;
            seen[next] = true;
        }
    }
    grpc__reflection__v1__file_descriptor_response__init(&a->body.files);
    a->body.files.n_file_descriptor_proto = n;
    a->body.files.file_descriptor_proto = files;
    a->response.message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE;
    a->response.file_descriptor_response = &a->body.files;
    return GX_OK;
}

static enum gx_status answer_services(struct answer *a, struct gx_arena *arena, struct gx_err *err)
{
    Grpc__Reflection__V1__ServiceResponse *services, **list;
    size_t n = 0;
    GX_TRY(gx_arena_array(arena, table.n_symbols, sizeof(*services), &services, err));
    GX_TRY(gx_arena_array(arena, table.n_symbols, sizeof(*list), &list, err));
    for (size_t i = 0; i < table.n_symbols; i++) {
        if (!table.symbols[i].service)
            continue;
        grpc__reflection__v1__service_response__init(&services[n]);
        services[n].name = binary(table.symbols[i].name);
        list[n] = &services[n];
        n++;
    }
    grpc__reflection__v1__list_service_response__init(&a->body.services);
    a->body.services.n_service = n;
    a->body.services.service = list;
    a->response.message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE;
    a->response.list_services_response = &a->body.services;
    return GX_OK;
}

static enum gx_status make_answer(const Grpc__Reflection__V1__ServerReflectionRequest *q, struct gx_arena *arena,
                                  struct answer *a, struct gx_err *err)
{
    switch (q->message_request_case) {
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES:
        return answer_services(a, arena, err);
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME:
        return answer_file(a, arena, find_file((struct gx_slice){q->file_by_filename.data, q->file_by_filename.len}),
                           err);
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL:
        return answer_file(
            a, arena, find_symbol((struct gx_slice){q->file_containing_symbol.data, q->file_containing_symbol.len}),
            err);
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_EXTENSION:
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_ALL_EXTENSION_NUMBERS_OF_TYPE:
        answer_error(a, UNIMPLEMENTED, "the schemas have no extensions");
        return GX_OK;
    default: answer_error(a, UNIMPLEMENTED, "not known to this server"); return GX_OK;
    }
}

static enum gx_status answer(struct gx_call *call, struct gx_slice message, struct gx_err *err)
{
    Grpc__Reflection__V1__ServerReflectionRequest *q;
    GX_TRY(gx_wire_unpack(&grpc__reflection__v1__server_reflection_request__descriptor, message, UNPACK_ROOM,
                          gx_call_arena(call), &q, err));
    struct answer a = {.response = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT};
    a.response.valid_host = q->host;
    a.response.original_request = q;
    GX_TRY(make_answer(q, gx_call_arena(call), &a, err));
    size_t len = grpc__reflection__v1__server_reflection_response__get_packed_size(&a.response);
    uint8_t *out = gx_call_send_begin(call, len);
    if (out == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory for the answer: try again later");
    gx_call_send_end(call, grpc__reflection__v1__server_reflection_response__pack(&a.response, out));
    return GX_OK;
}

void gx_reflection_info(void *app, struct gx_call *call, struct gx_slice message)
{
    (void)app;
    struct gx_err err;
    if (answer(call, message, &err) == GX_OK)
        gx_call_read(call);
    else
        gx_call_fail(call, &err);
}
