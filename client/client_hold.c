/* Legal holds: place, release, list. */
#include "message_private.h"

#include <stdlib.h>

#include "indexd/v1/holds.pb-c.h"

/* ---------------------------------------------------------------- place, release */

static enum gx_status check_ids(size_t n_ids, size_t min)
{
    if (n_ids >= min && n_ids <= GX_EXPUNGE_IDS_MAX)
        return GX_OK;
    return gx_error_set(GX_E_INVALID, "%zu ids in one hold: %zu to %d are possible", n_ids, min, GX_EXPUNGE_IDS_MAX);
}

static enum gx_status change(gx_client *client, const char *method, const ProtobufCMessage *request,
                             struct gx_client_hold_change *out)
{
    struct gx_bump mem;
    ProtobufCMessage *reply;
    enum gx_status status =
        gx_message_call(client, method, request, true, &indexd__v1__hold_response__descriptor, &mem, &reply);
    if (status != GX_OK)
        return status;
    const Indexd__V1__HoldResponse *r = (const Indexd__V1__HoldResponse *)reply;
    if (out != NULL)
        *out = (struct gx_client_hold_change){r->ids, r->unchanged_ids, r->records, r->epoch};
    gx_bump_fini(&mem);
    return GX_OK;
}

enum gx_status gx_client_hold_place(gx_client *client, const char *gallery, enum gx_client_id_kind kind,
                                    const char *const *ids, size_t n_ids, const char *reference, bool quarantine,
                                    const char *request_id, struct gx_client_hold_change *out)
{
    gx_error_clear();
    if (out != NULL)
        *out = (struct gx_client_hold_change){0};
    enum gx_status status = check_ids(n_ids, 1);
    if (status != GX_OK)
        return status;
    char made_id[GX_MESSAGE_REQUEST_ID_SIZE];
    gx_message_request_id(made_id);
    struct gx_bump mem;
    gx_message_memory(&mem);
    Indexd__V1__PlaceHoldRequest request = INDEXD__V1__PLACE_HOLD_REQUEST__INIT;
    request.gallery = gx_message_bytes(gallery);
    request.kind = (Indexd__V1__IdKind)kind;
    request.n_ids = n_ids;
    request.ids = gx_message_bytes_list(&mem, ids, n_ids);
    request.reference = gx_message_bytes(reference);
    request.quarantine = quarantine;
    request.request_id = gx_message_bytes(request_id != NULL ? request_id : made_id);
    status =
        request.ids == NULL ? gx_message_no_memory() : change(client, "/indexd.v1.Holds/Place", &request.base, out);
    gx_bump_fini(&mem);
    return status;
}

enum gx_status gx_client_hold_release(gx_client *client, const char *gallery, enum gx_client_id_kind kind,
                                      const char *const *ids, size_t n_ids, const char *reference,
                                      const char *request_id, struct gx_client_hold_change *out)
{
    gx_error_clear();
    if (out != NULL)
        *out = (struct gx_client_hold_change){0};
    enum gx_status status = check_ids(n_ids, 0);
    if (status != GX_OK)
        return status;
    char made_id[GX_MESSAGE_REQUEST_ID_SIZE];
    gx_message_request_id(made_id);
    struct gx_bump mem;
    gx_message_memory(&mem);
    Indexd__V1__ReleaseHoldRequest request = INDEXD__V1__RELEASE_HOLD_REQUEST__INIT;
    request.gallery = gx_message_bytes(gallery);
    request.kind = (Indexd__V1__IdKind)kind;
    request.n_ids = n_ids;
    request.ids = gx_message_bytes_list(&mem, ids, n_ids);
    request.reference = gx_message_bytes(reference);
    request.request_id = gx_message_bytes(request_id != NULL ? request_id : made_id);
    status = n_ids > 0 && request.ids == NULL ? gx_message_no_memory()
                                              : change(client, "/indexd.v1.Holds/Release", &request.base, out);
    gx_bump_fini(&mem);
    return status;
}

/* ---------------------------------------------------------------- list */

struct owned_holds {
    struct gx_client_holds list; /* first: what the user has */
    struct gx_bump mem;
};

void gx_client_holds_free(struct gx_client_holds *holds)
{
    if (holds == NULL)
        return;
    struct owned_holds *o = (struct owned_holds *)holds;
    free(o->list.holds);
    gx_bump_fini(&o->mem);
    free(o);
}

static void fill_hold(const Indexd__V1__Hold *h, struct gx_client_hold *out)
{
    *out = (struct gx_client_hold){.kind = (enum gx_client_id_kind)h->kind,
                                   .quarantine = h->quarantine,
                                   .placed_at_us = h->placed_at_us,
                                   .records = h->records};
    gx_message_copy(out->reference, sizeof(out->reference), h->reference);
    gx_message_copy(out->id, sizeof(out->id), h->id);
    gx_message_copy(out->id_hash, sizeof(out->id_hash), h->id_hash);
}

enum gx_status gx_client_hold_list(gx_client *client, const char *gallery, const char *reference,
                                   enum gx_client_id_kind kind, const char *id, uint32_t page_size,
                                   const char *page_token, struct gx_client_holds **out)
{
    gx_error_clear();
    *out = NULL;
    Indexd__V1__ListHoldsRequest request = INDEXD__V1__LIST_HOLDS_REQUEST__INIT;
    request.gallery = gx_message_bytes(gallery);
    request.reference = gx_message_bytes(reference);
    if (id != NULL)
        request.kind = (Indexd__V1__IdKind)kind;
    request.id = gx_message_bytes(id);
    request.page_size = page_size;
    request.page_token = gx_message_bytes(page_token);
    struct owned_holds *o = calloc(1, sizeof(*o));
    if (o == NULL)
        return gx_message_no_memory();
    ProtobufCMessage *reply;
    enum gx_status status = gx_message_call(client, "/indexd.v1.Holds/List", &request.base, true,
                                            &indexd__v1__list_holds_response__descriptor, &o->mem, &reply);
    if (status == GX_OK) {
        const Indexd__V1__ListHoldsResponse *r = (const Indexd__V1__ListHoldsResponse *)reply;
        o->list.next_page_token = gx_message_text(r->next_page_token);
        o->list.holds = calloc(r->n_holds + 1, sizeof(*o->list.holds));
        if (o->list.holds == NULL)
            status = gx_message_no_memory();
        for (size_t i = 0; status == GX_OK && i < r->n_holds; i++)
            fill_hold(r->holds[i], &o->list.holds[o->list.n_holds++]);
    }
    if (status != GX_OK) {
        gx_client_holds_free(&o->list);
        return status;
    }
    *out = &o->list;
    return GX_OK;
}
