/* Between the public structs and protobuf-c's: text, packing, unpacking, and a whole unary call. */
#ifndef GX_MESSAGE_PRIVATE_H
#define GX_MESSAGE_PRIVATE_H

#include <protobuf-c/protobuf-c.h>

#include "bump.h"
#include "call.h"
#include "indexd/client.h"

#include "indexd/v1/types.pb-c.h"

struct gx_client {
    struct gx_call_channel *channel;
    int64_t deadline_us;
    unsigned retries;
    bool resume; /* streams that break are opened again */
};

/* Text fields are bytes in the generated code. NULL = empty; borrowed. */
ProtobufCBinaryData gx_message_bytes(const char *text);

/* The text of an unpacked field: never NULL, terminated (see unpack), lives as long as the memory. */
const char *gx_message_text(ProtobufCBinaryData bytes);

/* The same cut to [@cap] with the terminating zero, at a character's beginning. */
void gx_message_copy(char *out, size_t cap, ProtobufCBinaryData bytes);

/* The list @texts [n] as fields, in @mem; NULL: no memory (or n = 0, which is no error). */
ProtobufCBinaryData *gx_message_bytes_list(struct gx_bump *mem, const char *const *texts, size_t n);

/* Returns GX_E_NOMEM with its text. */
GX_MUST enum gx_status gx_message_no_memory(void);

/* Memory for what is being built, without a limit that matters. */
void gx_message_memory(struct gx_bump *mem);

/* GX_E_TOO_LARGE: beyond GX_MESSAGE_MAX. */
GX_MUST enum gx_status gx_message_pack(const ProtobufCMessage *message, struct gx_call_message **out);

/* Unpacks into @mem, an initialised one; everything is freed with it. GX_E_INTERNAL: not a message of this type. */
GX_MUST enum gx_status gx_message_unpack(const ProtobufCMessageDescriptor *type, const uint8_t *data, size_t len,
                                         struct gx_bump *mem, ProtobufCMessage **out);

/* The limit of the memory of a reply of @len bytes: unpacking can multiply a hostile one. */
size_t gx_message_room(size_t len);

/* One call. @repeatable: by the client's retries. @mem is initialised here, and is the
 * caller's to release where GX_OK is returned. */
GX_MUST enum gx_status gx_message_call(const gx_client *client, const char *method, const ProtobufCMessage *request,
                                       bool repeatable, const ProtobufCMessageDescriptor *type, struct gx_bump *mem,
                                       ProtobufCMessage **out);

/* A new request id: 32 hexadecimal digits of a random number. */
#define GX_MESSAGE_REQUEST_ID_SIZE 33
void gx_message_request_id(char out[GX_MESSAGE_REQUEST_ID_SIZE]);

/* Fills the request's tuning (@tuning may be NULL); @out_given: something is asked for. GX_E_INVALID: two knobs. */
GX_MUST enum gx_status gx_message_tuning(const struct gx_client_tuning *tuning, Indexd__V1__Tuning *out,
                                         bool *out_given);

/* The keys and values [n] as Attribute messages in @mem; NULL: no memory. n > 0. */
Indexd__V1__Attribute **gx_message_attributes(struct gx_bump *mem, const char *const *keys, const char *const *values,
                                              size_t n);

#endif
