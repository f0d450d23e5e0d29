/* Expungement and its tickets. */
#include "message_private.h"

#include <stdlib.h>

#include "indexd/v1/expungement.pb-c.h"

/* The numbers of the public enums are those of the wire. */
_Static_assert((int)GX_CLIENT_SUBJECT == (int)INDEXD__V1__ID_KIND__ID_KIND_SUBJECT, "kinds");
_Static_assert((int)GX_CLIENT_TICKET_FAILED == (int)INDEXD__V1__TICKET_STATE__TICKET_STATE_FAILED, "states");

static void fill_ticket(const Indexd__V1__Ticket *t, struct gx_client_ticket *out)
{
    *out = (struct gx_client_ticket){.state = (enum gx_client_ticket_state)t->state,
                                     .kind = (enum gx_client_id_kind)t->kind,
                                     .records = t->records,
                                     .unmatched_ids = t->unmatched_ids,
                                     .epoch = t->epoch,
                                     .accepted_at_us = t->accepted_at_us,
                                     .unindexed_at_us = t->unindexed_at_us,
                                     .erased_at_us = t->erased_at_us,
                                     .verified_at_us = t->verified_at_us};
    gx_message_copy(out->ticket_id, sizeof(out->ticket_id), t->ticket_id);
    gx_message_copy(out->gallery, sizeof(out->gallery), t->gallery);
    gx_message_copy(out->order_ref, sizeof(out->order_ref), t->order_ref);
    gx_message_copy(out->problem, sizeof(out->problem), t->problem);
}

/* ---------------------------------------------------------------- expunge */

enum gx_status gx_client_expunge(gx_client *client, const char *gallery, enum gx_client_id_kind kind,
                                 const char *const *ids, size_t n_ids, const char *order_ref, int64_t expected_count,
                                 bool validate_only, const char *request_id, struct gx_client_ticket *out)
{
    gx_error_clear();
    *out = (struct gx_client_ticket){.kind = kind};
    if (n_ids == 0 || n_ids > GX_EXPUNGE_IDS_MAX)
        return gx_error_set(GX_E_INVALID, "%zu ids in one expungement: 1 to %d are possible", n_ids,
                            GX_EXPUNGE_IDS_MAX);
    char made_id[GX_MESSAGE_REQUEST_ID_SIZE];
    gx_message_request_id(made_id);
    struct gx_bump mem;
    gx_message_memory(&mem);
    Indexd__V1__ExpungeRequest request = INDEXD__V1__EXPUNGE_REQUEST__INIT;
    request.gallery = gx_message_bytes(gallery);
    request.kind = (Indexd__V1__IdKind)kind;
    request.n_ids = n_ids;
    request.ids = gx_message_bytes_list(&mem, ids, n_ids);
    request.order_ref = gx_message_bytes(order_ref);
    request.validate_only = validate_only;
    request.request_id = gx_message_bytes(request_id != NULL ? request_id : made_id);
    if (expected_count >= 0) {
        request.opt_expected_count_case = INDEXD__V1__EXPUNGE_REQUEST__OPT_EXPECTED_COUNT_EXPECTED_COUNT;
        request.expected_count = (uint64_t)expected_count;
    }
    struct gx_bump answer;
    ProtobufCMessage *reply;
    enum gx_status status = request.ids == NULL
                                ? gx_message_no_memory()
                                : gx_message_call(client, "/indexd.v1.Expungement/Expunge", &request.base, true,
                                                  &indexd__v1__expunge_response__descriptor, &answer, &reply);
    gx_bump_fini(&mem);
    if (status != GX_OK)
        return status;
    const Indexd__V1__ExpungeResponse *r = (const Indexd__V1__ExpungeResponse *)reply;
    if (r->ticket != NULL)
        fill_ticket(r->ticket, out);
    else if (!validate_only)
        status =
            gx_error_set(GX_E_INTERNAL, "the server's answer has no ticket: see 'ticket list' whether it was done");
    out->records = r->records;
    out->unmatched_ids = r->unmatched_ids;
    out->epoch = r->epoch;
    gx_bump_fini(&answer);
    return status;
}

/* ---------------------------------------------------------------- tickets */

enum gx_status gx_client_ticket_get(gx_client *client, const char *ticket_id, struct gx_client_ticket *out)
{
    gx_error_clear();
    *out = (struct gx_client_ticket){0};
    Indexd__V1__GetTicketRequest request = INDEXD__V1__GET_TICKET_REQUEST__INIT;
    request.ticket_id = gx_message_bytes(ticket_id);
    struct gx_bump mem;
    ProtobufCMessage *reply;
    enum gx_status status = gx_message_call(client, "/indexd.v1.Expungement/GetTicket", &request.base, true,
                                            &indexd__v1__ticket__descriptor, &mem, &reply);
    if (status != GX_OK)
        return status;
    fill_ticket((const Indexd__V1__Ticket *)reply, out);
    gx_bump_fini(&mem);
    return GX_OK;
}

struct owned_tickets {
    struct gx_client_tickets list; /* first: what the user holds */
    struct gx_bump mem;
};

void gx_client_tickets_free(struct gx_client_tickets *tickets)
{
    if (tickets == NULL)
        return;
    struct owned_tickets *o = (struct owned_tickets *)tickets;
    free(o->list.tickets);
    gx_bump_fini(&o->mem);
    free(o);
}

enum gx_status gx_client_ticket_list(gx_client *client, const char *gallery, uint32_t page_size, const char *page_token,
                                     struct gx_client_tickets **out)
{
    gx_error_clear();
    *out = NULL;
    Indexd__V1__ListTicketsRequest request = INDEXD__V1__LIST_TICKETS_REQUEST__INIT;
    request.gallery = gx_message_bytes(gallery);
    request.page_size = page_size;
    request.page_token = gx_message_bytes(page_token);
    struct owned_tickets *o = calloc(1, sizeof(*o));
    if (o == NULL)
        return gx_message_no_memory();
    ProtobufCMessage *reply;
    enum gx_status status = gx_message_call(client, "/indexd.v1.Expungement/ListTickets", &request.base, true,
                                            &indexd__v1__list_tickets_response__descriptor, &o->mem, &reply);
    if (status == GX_OK) {
        const Indexd__V1__ListTicketsResponse *r = (const Indexd__V1__ListTicketsResponse *)reply;
        o->list.next_page_token = gx_message_text(r->next_page_token);
        o->list.tickets = calloc(r->n_tickets + 1, sizeof(*o->list.tickets));
        if (o->list.tickets == NULL)
            status = gx_message_no_memory();
        for (size_t i = 0; status == GX_OK && i < r->n_tickets; i++)
            fill_ticket(r->tickets[i], &o->list.tickets[o->list.n_tickets++]);
    }
    if (status != GX_OK) {
        gx_client_tickets_free(&o->list);
        return status;
    }
    *out = &o->list;
    return GX_OK;
}

/* ---------------------------------------------------------------- watch */

struct watch {
    gx_client_on_ticket *on_ticket;
    void *user;
    struct gx_client_ticket last;
    bool seen, enough;
    bool arrived; /* something, over the present connection */
    enum gx_status status;
};

/* A watch that was opened again begins with a ticket that the user may know already. */
static bool is_news(const struct watch *w, const struct gx_client_ticket *t)
{
    return !w->seen || t->state != w->last.state || t->unindexed_at_us != w->last.unindexed_at_us;
}

static void on_message(void *user, const uint8_t *data, size_t len)
{
    struct watch *w = user;
    struct gx_bump mem;
    ProtobufCMessage *message;
    gx_bump_init(&mem, gx_message_room(len));
    if (w->status == GX_OK && !w->enough) {
        w->status = gx_message_unpack(&indexd__v1__ticket__descriptor, data, len, &mem, &message);
        if (w->status == GX_OK) {
            struct gx_client_ticket ticket;
            fill_ticket((const Indexd__V1__Ticket *)message, &ticket);
            if (is_news(w, &ticket))
                w->enough = !w->on_ticket(w->user, &ticket);
            w->last = ticket;
            w->seen = w->arrived = true;
        }
    }
    gx_bump_fini(&mem);
}

/* One connection's worth: until the server ends it, or enough, or the time is up. */
static enum gx_status watch_once(gx_client *client, const struct gx_call_message *request, int64_t until_us,
                                 struct watch *w, int64_t *out_retry_delay_us)
{
    struct gx_call_stream *s;
    bool sent = false;
    *out_retry_delay_us = 0;
    enum gx_status status =
        gx_call_stream_open(client->channel, "/indexd.v1.Expungement/WatchTicket", on_message, w, &s);
    while (status == GX_OK && w->status == GX_OK && !w->enough) {
        if (gx_call_stream_can_send(s)) {
            status = sent ? gx_call_stream_half_close(s) : gx_call_stream_send(s, request);
            sent = true;
        } else if (gx_call_stream_ended(s)) {
            status = gx_call_stream_status(s, out_retry_delay_us);
            break;
        } else if (!gx_call_stream_step(s, until_us - gx_call_now_us()) && gx_call_now_us() >= until_us) {
            status = gx_error_set(GX_E_DEADLINE, "not there yet when the time to wait was over");
        }
    }
    gx_call_stream_free(s);
    return status != GX_OK ? status : w->status;
}

/* A watch that broke is opened again: a few times before the first ticket, and for the client's deadline later, so that
 * a server's restart doesn't end it. */
static bool may_go_on(const gx_client *client, enum gx_status status, const struct watch *w, unsigned attempt,
                      int64_t failing_since_us)
{
    if (!client->resume || (status != GX_E_UNAVAILABLE && status != GX_E_BUSY && status != GX_E_CANCELLED))
        return false;
    return w->seen ? gx_call_now_us() - failing_since_us < client->deadline_us : attempt < client->retries;
}

enum gx_status gx_client_ticket_watch(gx_client *client, const char *ticket_id, int64_t wait_us,
                                      gx_client_on_ticket *on_ticket, void *user)
{
    gx_error_clear();
    if (wait_us < 0 || wait_us > GX_CLIENT_DEADLINE_MAX)
        return gx_error_set(GX_E_INVALID, "the time to wait is out of range: 1 us to 7 days");
    Indexd__V1__GetTicketRequest request = INDEXD__V1__GET_TICKET_REQUEST__INIT;
    request.ticket_id = gx_message_bytes(ticket_id);
    struct gx_call_message *message;
    enum gx_status status = gx_message_pack(&request.base, &message);
    if (status != GX_OK)
        return status;
    struct watch w = {.on_ticket = on_ticket, .user = user};
    int64_t until_us = gx_call_now_us() + (wait_us != 0 ? wait_us : client->deadline_us);
    unsigned attempt = 0;
    int64_t failing_since_us = 0, retry_delay_us;
    do {
        w.arrived = false;
        status = watch_once(client, message, until_us, &w, &retry_delay_us);
        if (w.arrived || failing_since_us == 0) {
            failing_since_us = gx_call_now_us();
            attempt = 0;
        }
    } while (may_go_on(client, status, &w, attempt, failing_since_us) &&
             gx_call_pause(client->channel, attempt++, retry_delay_us, until_us));
    gx_call_message_free(message);
    return status;
}
