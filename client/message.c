#include "message_private.h"

#include <string.h>
#include <sys/random.h>
#include <time.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "embeddings go over the wire as they lie in memory");

/* ---------------------------------------------------------------- text */

ProtobufCBinaryData gx_message_bytes(const char *text)
{
    /* protobuf-c takes no const, and writes nothing. */
    return text == NULL ? (ProtobufCBinaryData){0, NULL} : (ProtobufCBinaryData){strlen(text), (uint8_t *)text};
}

const char *gx_message_text(ProtobufCBinaryData bytes)
{
    return bytes.len == 0 ? "" : (const char *)bytes.data;
}

void gx_message_copy(char *out, size_t cap, ProtobufCBinaryData bytes)
{
    size_t len = bytes.len < cap ? bytes.len : cap - 1;
    while (len > 0 && len < bytes.len && (bytes.data[len] & 0xc0) == 0x80)
        len--;
    if (len > 0)
        memcpy(out, bytes.data, len);
    out[len] = '\0';
}

ProtobufCBinaryData *gx_message_bytes_list(struct gx_bump *mem, const char *const *texts, size_t n)
{
    ProtobufCBinaryData *list = n > 0 ? gx_bump_alloc(mem, n * sizeof(*list)) : NULL;
    for (size_t i = 0; list != NULL && i < n; i++)
        list[i] = gx_message_bytes(texts[i]);
    return list;
}

void gx_message_request_id(char out[GX_MESSAGE_REQUEST_ID_SIZE])
{
    uint8_t random[16];
    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random)) { /* not on any kernel of today */
        struct timespec now;
        (void)clock_gettime(CLOCK_REALTIME, &now);
        memset(random, 0, sizeof(random));
        memcpy(random, &now.tv_nsec, 8);
        memcpy(random + 8, &now.tv_sec, 8);
    }
    for (size_t i = 0; i < sizeof(random); i++) {
        out[2 * i] = "0123456789abcdef"[random[i] >> 4];
        out[2 * i + 1] = "0123456789abcdef"[random[i] & 15];
    }
    out[2 * sizeof(random)] = '\0';
}

/* ---------------------------------------------------------------- parts of requests */

enum gx_status gx_message_tuning(const struct gx_client_tuning *tuning, Indexd__V1__Tuning *out, bool *out_given)
{
    indexd__v1__tuning__init(out);
    *out_given = false;
    if (tuning == NULL)
        return GX_OK;
    if (tuning->has_effort + (tuning->nprobe != 0) + (tuning->ef_search != 0) > 1)
        return gx_error_set(GX_E_INVALID, "effort, nprobe and ef_search exclude each other: give one");
    out->candidates = tuning->candidates;
    if (tuning->has_effort) {
        out->knob_case = INDEXD__V1__TUNING__KNOB_EFFORT;
        out->effort = tuning->effort;
    } else if (tuning->nprobe != 0) {
        out->knob_case = INDEXD__V1__TUNING__KNOB_NPROBE;
        out->nprobe = tuning->nprobe;
    } else if (tuning->ef_search != 0) {
        out->knob_case = INDEXD__V1__TUNING__KNOB_EF_SEARCH;
        out->ef_search = tuning->ef_search;
    }
    *out_given = out->knob_case != INDEXD__V1__TUNING__KNOB__NOT_SET || out->candidates != 0;
    return GX_OK;
}

Indexd__V1__Attribute **gx_message_attributes(struct gx_bump *mem, const char *const *keys, const char *const *values,
                                              size_t n)
{
    Indexd__V1__Attribute **list = gx_bump_alloc(mem, n * sizeof(*list));
    Indexd__V1__Attribute *all = gx_bump_alloc(mem, n * sizeof(*all));
    if (list == NULL || all == NULL)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        indexd__v1__attribute__init(&all[i]);
        all[i].key = gx_message_bytes(keys[i]);
        all[i].value = gx_message_bytes(values[i]);
        list[i] = &all[i];
    }
    return list;
}

/* ---------------------------------------------------------------- messages */

enum gx_status gx_message_no_memory(void)
{
    return gx_error_set(GX_E_NOMEM, "out of memory: send fewer at once");
}

void gx_message_memory(struct gx_bump *mem)
{
    gx_bump_init(mem, (size_t)1 << 40);
}

enum gx_status gx_message_pack(const ProtobufCMessage *message, struct gx_call_message **out)
{
    *out = NULL;
    size_t len = protobuf_c_message_get_packed_size(message);
    if (len > GX_MESSAGE_MAX)
        return gx_error_set(GX_E_TOO_LARGE, "the request has %zu bytes, at most %u are possible: send fewer at once",
                            len, GX_MESSAGE_MAX);
    uint8_t *data;
    *out = gx_call_message_new(len, &data);
    if (*out == NULL)
        return gx_message_no_memory();
    (void)protobuf_c_message_pack(message, data);
    return GX_OK;
}

static void *allocate(void *mem, size_t size)
{
    return gx_bump_alloc(mem, size); /* a zero byte follows: that is what terminates texts */
}

static void release(void *mem, void *piece)
{
    (void)mem;
    (void)piece;
}

enum gx_status gx_message_unpack(const ProtobufCMessageDescriptor *type, const uint8_t *data, size_t len,
                                 struct gx_bump *mem, ProtobufCMessage **out)
{
    ProtobufCAllocator allocator = {.alloc = allocate, .free = release, .allocator_data = mem};
    *out = protobuf_c_message_unpack(type, &allocator, len, data);
    if (*out == NULL)
        return gx_error_set(GX_E_INTERNAL, "the server's answer is not a %s: is it another version?", type->short_name);
    return GX_OK;
}

size_t gx_message_room(size_t len)
{
    return 32 * len + ((size_t)4 << 20); /* 10,000 outcomes without a word are 20 kB, and unfold to 2 MB */
}

enum gx_status gx_message_call(const gx_client *client, const char *method, const ProtobufCMessage *request,
                               bool repeatable, const ProtobufCMessageDescriptor *type, struct gx_bump *mem,
                               ProtobufCMessage **out)
{
    *out = NULL;
    struct gx_call_message *message;
    enum gx_status status = gx_message_pack(request, &message);
    if (status != GX_OK)
        return status;
    struct gx_call_reply reply;
    status =
        gx_call_unary(client->channel, method, message, client->deadline_us, repeatable ? client->retries : 0, &reply);
    gx_call_message_free(message);
    if (status == GX_OK) {
        gx_bump_init(mem, gx_message_room(reply.len));
        status = gx_message_unpack(type, reply.data, reply.len, mem, out);
        if (status != GX_OK)
            gx_bump_fini(mem);
    }
    gx_call_reply_fini(&reply);
    return status;
}
