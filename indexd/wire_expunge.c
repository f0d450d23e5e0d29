/* Expungement messages. */
#include "indexd/v1/expungement.pb-c.h"
#include "wire_private.h"

#define ROOM_EXPUNGE (2u << 20) /* 10,000 short ids unfold to more than 8 x their length */
#define ROOM         (64u << 10)
#define TOKEN        't' /* of page tokens: the ticket to go on below */

/* Kinds and states are the same numbers everywhere. */
static_assert((int)GX_ID_RECORD == (int)INDEXD__V1__ID_KIND__ID_KIND_RECORD, "kind");
static_assert((int)GX_ID_ARREST == (int)INDEXD__V1__ID_KIND__ID_KIND_ARREST, "kind");
static_assert((int)GX_ID_SUBJECT == (int)INDEXD__V1__ID_KIND__ID_KIND_SUBJECT, "kind");
static_assert((int)GX_TICKET_ACCEPTED == (int)INDEXD__V1__TICKET_STATE__TICKET_STATE_ACCEPTED, "state");
static_assert((int)GX_TICKET_ERASED == (int)INDEXD__V1__TICKET_STATE__TICKET_STATE_ERASED, "state");
static_assert((int)GX_TICKET_VERIFIED == (int)INDEXD__V1__TICKET_STATE__TICKET_STATE_VERIFIED, "state");
static_assert((int)GX_TICKET_BYTES == (int)INDEXD__V1__VERIFY_METHOD__VERIFY_METHOD_BYTES, "method");
static_assert((int)GX_TICKET_STRUCTURAL == (int)INDEXD__V1__VERIFY_METHOD__VERIFY_METHOD_STRUCTURAL, "method");
static_assert((int)GX_TICKET_FAILED == (int)INDEXD__V1__TICKET_STATE__TICKET_STATE_FAILED, "state");

/* --- requests --- */

static enum gx_status get_kind(Indexd__V1__IdKind kind, enum gx_id_kind *out, struct gx_err *err)
{
    if (kind != INDEXD__V1__ID_KIND__ID_KIND_RECORD && kind != INDEXD__V1__ID_KIND__ID_KIND_ARREST &&
        kind != INDEXD__V1__ID_KIND__ID_KIND_SUBJECT)
        return gx_fail(err, GX_E_INVALID, "kind: RECORD (1), ARREST (2) or SUBJECT (3), got %d", (int)kind);
    *out = (enum gx_id_kind)kind;
    return GX_OK;
}

enum gx_status gx_wire_expunge_decode(struct gx_slice message, struct gx_arena *arena, struct gx_expunge_in *out,
                                      struct gx_err *err)
{
    Indexd__V1__ExpungeRequest *request;
    GX_TRY(gx_wire_unpack(&indexd__v1__expunge_request__descriptor, message, ROOM_EXPUNGE, arena, &request, err));
    out->gallery = gx_wire_slice(request->gallery);
    out->order_ref = gx_wire_slice(request->order_ref);
    out->request_id = gx_wire_slice(request->request_id);
    out->validate_only = request->validate_only;
    out->n_ids = request->n_ids;
    GX_TRY(gx_codec_check_name(out->gallery, err));
    GX_TRY(get_kind(request->kind, &out->kind, err));
    GX_TRY(gx_codec_check_text(out->order_ref, 1, GX_ORDER_REF_MAX, "order_ref", err));
    GX_TRY(gx_codec_check_text(out->request_id, 0, GX_REQUEST_ID_MAX, "request_id", err));
    if (out->n_ids == 0 || out->n_ids > GX_EXPUNGE_IDS_MAX)
        return gx_fail(err, GX_E_INVALID, "ids: 1..%d, got %zu", GX_EXPUNGE_IDS_MAX, out->n_ids);
    bool expects = request->opt_expected_count_case != INDEXD__V1__EXPUNGE_REQUEST__OPT_EXPECTED_COUNT__NOT_SET;
    GX_TRY(gx_wire_get_expected(expects, request->expected_count, &out->expected_count, err));
    return gx_wire_copy_ids(request->ids, out->n_ids, "ids", arena, &out->ids, err);
}

enum gx_status gx_wire_expunge_decode_ticket(struct gx_slice message, struct gx_arena *arena, uint64_t *out_number,
                                             struct gx_err *err)
{
    Indexd__V1__GetTicketRequest *request;
    GX_TRY(gx_wire_unpack(&indexd__v1__get_ticket_request__descriptor, message, ROOM, arena, &request, err));
    return gx_expunge_ticket_number(gx_wire_slice(request->ticket_id), out_number, err);
}

enum gx_status gx_wire_expunge_decode_tickets(struct gx_slice message, struct gx_arena *arena,
                                              struct gx_wire_tickets_in *out, struct gx_err *err)
{
    Indexd__V1__ListTicketsRequest *request;
    GX_TRY(gx_wire_unpack(&indexd__v1__list_tickets_request__descriptor, message, ROOM, arena, &request, err));
    out->gallery = gx_wire_slice(request->gallery);
    if (out->gallery.len != 0)
        GX_TRY(gx_codec_check_name(out->gallery, err));
    return gx_wire_get_page(request->page_size, request->page_token, TOKEN, &out->n, &out->before, err);
}

enum gx_status gx_wire_expunge_decode_certificate(struct gx_slice message, struct gx_arena *arena, uint64_t *out_number,
                                                  struct gx_err *err)
{
    Indexd__V1__GetCertificateRequest *request;
    *out_number = 0;
    GX_TRY(gx_wire_unpack(&indexd__v1__get_certificate_request__descriptor, message, ROOM, arena, &request, err));
    if (request->ticket_id.len == 0)
        return GX_OK;
    return gx_expunge_ticket_number(gx_wire_slice(request->ticket_id), out_number, err);
}

/* --- replies --- */

struct ticket {
    Indexd__V1__Ticket ticket;
    char id[GX_TICKET_TEXT_MAX];
};

static void fill_ticket(const struct gx_ticket *in, struct ticket *out)
{
    indexd__v1__ticket__init(&out->ticket);
    gx_expunge_ticket_text(in->number, out->id);
    out->ticket.ticket_id = gx_wire_bytes(gx_slice_text(out->id));
    out->ticket.state = (Indexd__V1__TicketState)in->state;
    out->ticket.gallery = gx_wire_bytes(in->gallery);
    out->ticket.order_ref = gx_wire_bytes(in->order_ref);
    out->ticket.kind = (Indexd__V1__IdKind)in->kind;
    out->ticket.records = in->n_records;
    out->ticket.unmatched_ids = in->n_unmatched;
    out->ticket.epoch = in->epoch;
    out->ticket.accepted_at_us = in->accepted_at_us;
    out->ticket.unindexed_at_us = in->unindexed_at_us;
    out->ticket.flushed_at_us = in->flushed_at_us;
    out->ticket.compacted_at_us = in->compacted_at_us;
    out->ticket.unlinked_at_us = in->unlinked_at_us;
    out->ticket.erased_at_us = in->erased_at_us;
    out->ticket.verified_at_us = in->verified_at_us;
    out->ticket.failed_at_us = in->failed_at_us;
    out->ticket.attempts = in->attempts;
    out->ticket.files_rewritten = in->files_rewritten;
    out->ticket.bytes_rewritten = in->bytes_rewritten;
    out->ticket.files_removed = in->files_removed;
    out->ticket.method = (Indexd__V1__VerifyMethod)in->method;
    out->ticket.files_scanned = in->files_scanned;
    out->ticket.bytes_scanned = in->bytes_scanned;
    out->ticket.files_left_out = in->files_left_out;
    out->ticket.control_hits = in->control_hits;
    out->ticket.certificate = in->certificate;
    out->ticket.deadline_at_us = in->deadline_at_us;
    out->ticket.problem = gx_wire_bytes(in->problem);
}

static enum gx_status fill_outcomes(const struct gx_expunge_out *expunged, struct gx_arena *arena,
                                    Indexd__V1__ExpungeResponse *response, struct gx_err *err)
{
    size_t n = expunged->n_outcomes;
    Indexd__V1__IdOutcome *filled;
    GX_TRY(gx_arena_array(arena, n, sizeof(*filled), &filled, err));
    GX_TRY(gx_arena_array(arena, n, sizeof(*response->outcomes), &response->outcomes, err));
    for (size_t i = 0; i < n; i++) {
        indexd__v1__id_outcome__init(&filled[i]);
        filled[i].records = expunged->outcomes[i].n_records;
        filled[i].expunged_before = expunged->outcomes[i].expunged_before;
        filled[i].hold_ref = gx_wire_bytes(expunged->outcomes[i].hold_ref);
        response->outcomes[i] = &filled[i];
    }
    response->n_outcomes = n;
    return GX_OK;
}

static enum gx_status fill_backups(const struct gx_ticket *in, struct gx_arena *arena, Indexd__V1__Ticket *out,
                                   struct gx_err *err)
{
    GX_TRY(gx_arena_array(arena, in->n_backups, sizeof(*out->backups), &out->backups, err));
    for (size_t i = 0; i < in->n_backups; i++)
        out->backups[i] = gx_wire_bytes(in->backups[i]);
    out->n_backups = in->n_backups;
    return GX_OK;
}

enum gx_status gx_wire_expunge_build(const struct gx_expunge_out *expunged, struct gx_arena *arena,
                                     struct gx_wire_reply *out, struct gx_err *err)
{
    struct {
        Indexd__V1__ExpungeResponse response;
        struct ticket ticket;
    } *reply = (void *)out->room;
    static_assert(sizeof(*reply) <= sizeof(out->room), "fits");
    indexd__v1__expunge_response__init(&reply->response);
    if (expunged->has_ticket) {
        fill_ticket(&expunged->ticket, &reply->ticket);
        reply->response.ticket = &reply->ticket.ticket;
    }
    reply->response.records = expunged->n_records;
    reply->response.unmatched_ids = expunged->n_unmatched;
    reply->response.epoch = expunged->epoch;
    GX_TRY(fill_outcomes(expunged, arena, &reply->response, err));
    gx_wire_set(out, &reply->response.base);
    return GX_OK;
}

enum gx_status gx_wire_expunge_build_ticket(const struct gx_ticket *ticket, struct gx_arena *arena,
                                            struct gx_wire_reply *out, struct gx_err *err)
{
    struct ticket *reply = (void *)out->room;
    static_assert(sizeof(*reply) <= sizeof(out->room), "fits");
    fill_ticket(ticket, reply);
    GX_TRY(fill_backups(ticket, arena, &reply->ticket, err));
    gx_wire_set(out, &reply->ticket.base);
    return GX_OK;
}

enum gx_status gx_wire_expunge_build_tickets(const struct gx_ticket *tickets, size_t n, uint64_t next,
                                             struct gx_arena *arena, struct gx_wire_reply *out, struct gx_err *err)
{
    struct {
        Indexd__V1__ListTicketsResponse list;
        char token[GX_WIRE_TOKEN_MAX];
    } *reply = (void *)out->room;
    static_assert(sizeof(*reply) <= sizeof(out->room), "fits");
    struct ticket *filled;
    Indexd__V1__Ticket **pointers;
    GX_TRY(gx_arena_array(arena, n, sizeof(*filled), &filled, err));
    GX_TRY(gx_arena_array(arena, n, sizeof(Indexd__V1__Ticket *), &pointers, err));
    for (size_t i = 0; i < n; i++) {
        fill_ticket(&tickets[i], &filled[i]);
        GX_TRY(fill_backups(&tickets[i], arena, &filled[i].ticket, err));
        pointers[i] = &filled[i].ticket;
    }
    indexd__v1__list_tickets_response__init(&reply->list);
    reply->list.n_tickets = n;
    reply->list.tickets = pointers;
    reply->list.next_page_token = gx_wire_page_token(next, TOKEN, reply->token);
    gx_wire_set(out, &reply->list.base);
    return GX_OK;
}

void gx_wire_expunge_build_certificate(struct gx_slice certificate, struct gx_slice public_key,
                                       struct gx_wire_reply *out)
{
    Indexd__V1__GetCertificateResponse *reply = (void *)out->room;
    static_assert(sizeof(*reply) <= sizeof(out->room), "fits");
    indexd__v1__get_certificate_response__init(reply);
    reply->certificate = gx_wire_bytes(certificate);
    reply->public_key = gx_wire_bytes(public_key);
    gx_wire_set(out, &reply->base);
}
