/* Expungement and its tickets. */
#include "message_private.h"

#include <stdlib.h>
#include <string.h>

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
                                     .flushed_at_us = t->flushed_at_us,
                                     .compacted_at_us = t->compacted_at_us,
                                     .unlinked_at_us = t->unlinked_at_us,
                                     .erased_at_us = t->erased_at_us,
                                     .verified_at_us = t->verified_at_us,
                                     .failed_at_us = t->failed_at_us,
                                     .deadline_at_us = t->deadline_at_us,
                                     .attempts = t->attempts,
                                     .files_rewritten = t->files_rewritten,
                                     .bytes_rewritten = t->bytes_rewritten,
                                     .files_removed = t->files_removed,
                                     .method = (enum gx_client_verify_method)t->method,
                                     .files_scanned = t->files_scanned,
                                     .bytes_scanned = t->bytes_scanned,
                                     .files_left_out = t->files_left_out,
                                     .control_hits = t->control_hits,
                                     .certificate = t->certificate};
    gx_message_copy(out->ticket_id, sizeof(out->ticket_id), t->ticket_id);
    gx_message_copy(out->gallery, sizeof(out->gallery), t->gallery);
    gx_message_copy(out->order_ref, sizeof(out->order_ref), t->order_ref);
    gx_message_copy(out->problem, sizeof(out->problem), t->problem);
    out->n_backups = t->n_backups;
    for (size_t i = 0, used = 0; i < t->n_backups && used + t->backups[i].len + 2 < sizeof(out->backups); i++) {
        if (i > 0)
            out->backups[used++] = ' ';
        gx_message_copy(out->backups + used, sizeof(out->backups) - used, t->backups[i]);
        used += strlen(out->backups + used);
    }
}

/* ---------------------------------------------------------------- expunge */

struct owned_expunged {
    struct gx_client_expunged whole; /* first: what the user holds */
    struct gx_bump mem;
};

void gx_client_expunged_free(struct gx_client_expunged *expunged)
{
    if (expunged == NULL)
        return;
    struct owned_expunged *o = (struct owned_expunged *)expunged;
    free(o->whole.outcomes);
    gx_bump_fini(&o->mem);
    free(o);
}

/* One outcome for each of @n_ids, or none: an older server's. */
static enum gx_status fill_outcomes(const Indexd__V1__ExpungeResponse *r, size_t n_ids, struct gx_client_expunged *out)
{
    if (r->n_outcomes != n_ids)
        return gx_error_set(r->n_outcomes == 0 ? GX_E_UNIMPLEMENTED : GX_E_INTERNAL,
                            "the server tells the outcome of %zu ids, there are %zu: is it another version?",
                            r->n_outcomes, n_ids);
    out->outcomes = calloc(n_ids, sizeof(*out->outcomes));
    if (out->outcomes == NULL)
        return gx_message_no_memory();
    for (size_t i = 0; i < n_ids; i++)
        out->outcomes[i] = (struct gx_client_outcome){.records = r->outcomes[i]->records,
                                                      .expunged_before = r->outcomes[i]->expunged_before,
                                                      .hold_ref = gx_message_text(r->outcomes[i]->hold_ref)};
    out->n_outcomes = n_ids;
    return GX_OK;
}

/* Sends the order. @mem and the reply as from gx_message_call. */
static enum gx_status send_order(gx_client *client, Indexd__V1__ExpungeRequest *request, const char *const *ids,
                                 const char *request_id, struct gx_bump *mem, const Indexd__V1__ExpungeResponse **out)
{
    char made_id[GX_MESSAGE_REQUEST_ID_SIZE];
    gx_message_request_id(made_id);
    request->request_id = gx_message_bytes(request_id != NULL ? request_id : made_id);
    struct gx_bump list;
    gx_message_memory(&list);
    request->ids = gx_message_bytes_list(&list, ids, request->n_ids);
    ProtobufCMessage *reply = NULL;
    enum gx_status status = request->ids == NULL
                                ? gx_message_no_memory()
                                : gx_message_call(client, "/indexd.v1.Expungement/Expunge", &request->base, true,
                                                  &indexd__v1__expunge_response__descriptor, mem, &reply);
    gx_bump_fini(&list);
    *out = (const Indexd__V1__ExpungeResponse *)reply;
    return status;
}

enum gx_status gx_client_expunge_list(gx_client *client, const char *gallery, enum gx_client_id_kind kind,
                                      const char *const *ids, size_t n_ids, const char *order_ref,
                                      int64_t expected_count, bool validate_only, const char *request_id,
                                      struct gx_client_expunged **out)
{
    gx_error_clear();
    *out = NULL;
    if (n_ids == 0 || n_ids > GX_EXPUNGE_IDS_MAX)
        return gx_error_set(GX_E_INVALID, "%zu ids in one expungement: 1 to %d are possible", n_ids,
                            GX_EXPUNGE_IDS_MAX);
    Indexd__V1__ExpungeRequest request = INDEXD__V1__EXPUNGE_REQUEST__INIT;
    request.gallery = gx_message_bytes(gallery);
    request.kind = (Indexd__V1__IdKind)kind;
    request.n_ids = n_ids;
    request.order_ref = gx_message_bytes(order_ref);
    request.validate_only = validate_only;
    if (expected_count >= 0) {
        request.opt_expected_count_case = INDEXD__V1__EXPUNGE_REQUEST__OPT_EXPECTED_COUNT_EXPECTED_COUNT;
        request.expected_count = (uint64_t)expected_count;
    }
    struct owned_expunged *o = calloc(1, sizeof(*o));
    if (o == NULL)
        return gx_message_no_memory();
    const Indexd__V1__ExpungeResponse *r;
    enum gx_status status = send_order(client, &request, ids, request_id, &o->mem, &r);
    if (status == GX_OK)
        status = fill_outcomes(r, n_ids, &o->whole);
    if (status == GX_OK && r->ticket == NULL && !validate_only)
        status =
            gx_error_set(GX_E_INTERNAL, "the server's answer has no ticket: see 'ticket list' whether it was done");
    if (status != GX_OK) {
        gx_client_expunged_free(&o->whole);
        return status;
    }
    o->whole.ticket.kind = kind;
    if (r->ticket != NULL)
        fill_ticket(r->ticket, &o->whole.ticket);
    o->whole.ticket.records = r->records;
    o->whole.ticket.unmatched_ids = r->unmatched_ids;
    o->whole.ticket.epoch = r->epoch;
    *out = &o->whole;
    return GX_OK;
}

enum gx_status gx_client_expunge(gx_client *client, const char *gallery, enum gx_client_id_kind kind,
                                 const char *const *ids, size_t n_ids, const char *order_ref, int64_t expected_count,
                                 bool validate_only, const char *request_id, struct gx_client_ticket *out)
{
    struct gx_client_expunged *whole;
    *out = (struct gx_client_ticket){.kind = kind};
    enum gx_status status = gx_client_expunge_list(client, gallery, kind, ids, n_ids, order_ref, expected_count,
                                                   validate_only, request_id, &whole);
    if (status == GX_OK)
        *out = whole->ticket;
    gx_client_expunged_free(whole);
    return status;
}

/* ---------------------------------------------------------------- tickets */

enum gx_status gx_client_ticket_get(gx_client *client, const char *ticket_id, struct gx_client_ticket *out)
{
    gx_error_clear();
    Indexd__V1__GetTicketRequest request = INDEXD__V1__GET_TICKET_REQUEST__INIT;
    request.ticket_id = gx_message_bytes(ticket_id);
    struct gx_bump mem;
    ProtobufCMessage *reply;
    enum gx_status status = gx_message_call(client, "/indexd.v1.Expungement/GetTicket", &request.base, true,
                                            &indexd__v1__ticket__descriptor, &mem, &reply);
    *out = (struct gx_client_ticket){0}; /* not before: the id may be its own */
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

/* ---------------------------------------------------------------- certificates */

/* A malloc'ed copy with a zero byte behind. */
static void *copy_of(ProtobufCBinaryData bytes)
{
    char *copy = malloc(bytes.len + 1);
    if (copy == NULL)
        return NULL;
    if (bytes.len > 0)
        memcpy(copy, bytes.data, bytes.len);
    copy[bytes.len] = '\0';
    return copy;
}

enum gx_status gx_client_certificate_get(gx_client *client, const char *ticket_id, void **out_certificate,
                                         size_t *out_len, char **out_public_key)
{
    void *certificate = NULL, *public_key = NULL;
    gx_error_clear();
    if (out_certificate != NULL)
        *out_certificate = NULL;
    if (out_len != NULL)
        *out_len = 0;
    if (out_public_key != NULL)
        *out_public_key = NULL;
    if (ticket_id != NULL && (ticket_id[0] == '\0' || out_certificate == NULL || out_len == NULL))
        return gx_error_set(GX_E_INVALID, "a ticket's certificate wants a ticket id like T-00000042");
    Indexd__V1__GetCertificateRequest request = INDEXD__V1__GET_CERTIFICATE_REQUEST__INIT;
    request.ticket_id = gx_message_bytes(ticket_id);
    struct gx_bump mem;
    ProtobufCMessage *reply;
    enum gx_status status = gx_message_call(client, "/indexd.v1.Expungement/GetCertificate", &request.base, true,
                                            &indexd__v1__get_certificate_response__descriptor, &mem, &reply);
    if (status != GX_OK)
        return status;
    const Indexd__V1__GetCertificateResponse *r = (const Indexd__V1__GetCertificateResponse *)reply;
    if (ticket_id != NULL && r->certificate.len == 0)
        status = gx_error_set(GX_E_INTERNAL, "the server's answer has no certificate: is it another version?");
    if (status == GX_OK && ((ticket_id != NULL && (certificate = copy_of(r->certificate)) == NULL) ||
                            (out_public_key != NULL && (public_key = copy_of(r->public_key)) == NULL))) {
        free(certificate);
        status = gx_message_no_memory();
    }
    if (status == GX_OK && ticket_id != NULL) {
        *out_certificate = certificate;
        *out_len = r->certificate.len;
    }
    if (status == GX_OK && out_public_key != NULL)
        *out_public_key = public_key;
    gx_bump_fini(&mem);
    return status;
}
