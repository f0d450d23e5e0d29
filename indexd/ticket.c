/* Tickets: what the ledger family of the store says of each expungement. */
#include <inttypes.h>
#include <stdio.h>

#include "gallery_private.h"

void gx_expunge_ticket_text(uint64_t number, char out[GX_TICKET_TEXT_MAX])
{
    snprintf(out, GX_TICKET_TEXT_MAX, "T-%08" PRIu64, number);
}

enum gx_status gx_expunge_ticket_number(struct gx_slice text, uint64_t *out, struct gx_err *err)
{
    uint64_t n = 0;
    bool good = text.len >= 3 && text.len < GX_TICKET_TEXT_MAX && text.data[0] == 'T' && text.data[1] == '-';
    for (size_t i = 2; good && i < text.len; i++) {
        uint64_t digit = (uint64_t)text.data[i] - '0';
        good = digit <= 9 && n <= (UINT64_MAX - digit) / 10;
        n = n * 10 + digit;
    }
    *out = n;
    return good && n > 0 ? GX_OK : gx_fail(err, GX_E_INVALID, "ticket_id: write it as T-00000042");
}

enum gx_status gx_expunge_ticket(struct gx_galleries *galleries, uint64_t number, struct gx_arena *arena,
                                 struct gx_ticket *out, struct gx_err *err)
{
    GX_TRY(gx_ticket_get(galleries, number, arena, out, err));
    return gx_keeper_add_alarm(galleries, arena, out, err);
}

enum gx_status gx_ticket_get(struct gx_galleries *galleries, uint64_t number, struct gx_arena *arena,
                             struct gx_ticket *out, struct gx_err *err)
{
    struct gx_slice value;
    uint8_t key[8];
    gx_codec_put_u64(key, number);
    enum gx_status status =
        gx_store_get(galleries->store, GX_CF_LEDGER, (struct gx_slice){key, sizeof(key)}, arena, &value, err);
    if (status == GX_E_NOT_FOUND)
        return gx_fail(err, GX_E_NOT_FOUND, "no such ticket: 'indexctl ticket list' shows those there are");
    GX_TRY(status);
    GX_TRY(gx_codec_ticket_decode(value, arena, out, err));
    out->deadline_at_us = out->accepted_at_us + galleries->options.erase_deadline_us;
    return GX_OK;
}

/* Reads tickets from @iter into @out until @n are there; *out_next is where the next page begins. */
static enum gx_status read_page(struct gx_store_iter *iter, struct gx_slice gallery, size_t n, struct gx_arena *arena,
                                struct gx_ticket *out, size_t *out_n, uint64_t *out_next, struct gx_err *err)
{
    for (;;) {
        struct gx_slice key, value;
        struct gx_ticket ticket;
        bool more;
        GX_TRY(gx_store_iter_next(iter, &more, &key, &value, err));
        if (!more)
            return GX_OK;
        if (*out_n == n) {
            *out_next = gx_codec_get_u64(key.data) + 1;
            return GX_OK;
        }
        /* Without its rnos: a page of large tickets would be megabytes of them. */
        GX_TRY(gx_codec_ticket_decode(value, NULL, &ticket, err));
        if (gallery.len > 0 && !gx_slice_equal(gallery, ticket.gallery))
            continue;
        GX_TRY(gx_arena_copy(arena, ticket.gallery, &ticket.gallery, err));
        GX_TRY(gx_arena_copy(arena, ticket.order_ref, &ticket.order_ref, err));
        GX_TRY(gx_arena_copy(arena, ticket.problem, &ticket.problem, err));
        out[(*out_n)++] = ticket;
    }
}

enum gx_status gx_expunge_tickets(struct gx_galleries *galleries, struct gx_slice gallery, uint64_t before, size_t n,
                                  struct gx_arena *arena, struct gx_ticket **out, size_t *out_n, uint64_t *out_next,
                                  struct gx_err *err)
{
    struct gx_store_iter *iter;
    uint8_t from_bytes[8];
    struct gx_slice from = {from_bytes, 0}, none = {NULL, 0};
    *out_n = 0;
    *out_next = 0;
    if (n < 1 || n > GX_PAGE_MAX)
        return gx_fail(err, GX_E_INVALID, "page_size: 1..%d, got %zu", GX_PAGE_MAX, n);
    GX_TRY(gx_arena_array(arena, n, sizeof(**out), out, err));
    if (before == 1)
        return GX_OK;
    if (before > 0) {
        gx_codec_put_u64(from_bytes, before - 1);
        from.len = sizeof(from_bytes);
    }
    GX_TRY(gx_store_iter_begin(galleries->store, GX_CF_LEDGER, none, from, true, &iter, err));
    enum gx_status status = read_page(iter, gallery, n, arena, *out, out_n, out_next, err);
    gx_store_iter_end(iter);
    for (size_t i = 0; status == GX_OK && i < *out_n; i++) {
        (*out)[i].deadline_at_us = (*out)[i].accepted_at_us + galleries->options.erase_deadline_us;
        status = gx_keeper_add_alarm(galleries, arena, &(*out)[i], err);
    }
    return status;
}

void gx_expunge_set_changed(struct gx_galleries *galleries, gx_expunge_changed *changed, void *arg)
{
    galleries->ticket_changed_arg = arg;
    atomic_store(&galleries->ticket_changed, changed); /* after its argument: the keeper may look at any time */
}

void gx_expunge_alarms(struct gx_galleries *galleries, struct gx_expunge_alarms *out)
{
    gx_keeper_count_alarms(galleries, out);
}

bool gx_expunge_is_final(const struct gx_ticket *ticket)
{
    return ticket->state == GX_TICKET_VERIFIED;
}
