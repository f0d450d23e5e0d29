/* Two ledgers side by side, for who must choose between them: one of them may be an older copy of the other.
 *
 * The chain makes it easy: where both had n entries they had the same head, or they never were the same until there. */
#include "ledger_private.h"

/* While reading: the head of the chain after @n entries. */
struct place {
    uint64_t n, seen;
    struct gx_digest head;
};

static enum gx_status note_place(void *arg, const struct gx_ledger_entry *entry, uint64_t offset, uint64_t len,
                                 struct gx_err *err)
{
    struct place *place = arg;
    (void)offset;
    (void)len;
    (void)err;
    if (++place->seen == place->n)
        place->head = entry->head;
    return GX_OK;
}

/* Reads @copy; *out_head = its head after @n entries (n = 0: not asked for). */
static enum gx_status read_until(const struct gx_ledger_copy *copy, uint64_t n, struct gx_ledger_reading *out,
                                 struct gx_digest *out_head, struct gx_err *err)
{
    struct place place = {.n = n};
    GX_TRY(gx_ledger_read_all(copy, note_place, &place, out, err));
    *out_head = place.head;
    return GX_OK;
}

static enum gx_status compare(const struct gx_ledger_copy *a, const struct gx_ledger_copy *b,
                              enum gx_ledger_relation *out, struct gx_err *err)
{
    struct gx_ledger_reading of_a, of_b;
    struct gx_digest head, ignored;
    GX_TRY(read_until(a, 0, &of_a, &ignored, err));
    GX_TRY(read_until(b, of_a.now.n_entries, &of_b, &head, err));
    uint64_t n_a = of_a.now.n_entries, n_b = of_b.now.n_entries;
    if (memcmp(of_a.front.header, of_b.front.header, GX_LEDGER_HEADER_LEN) != 0) {
        *out = GX_LEDGER_FOREIGN;
        return GX_OK;
    }
    *out = n_a == n_b ? GX_LEDGER_SAME : n_a > n_b ? GX_LEDGER_A_AHEAD : GX_LEDGER_B_AHEAD;
    const struct gx_digest *wanted = &of_a.now.head;
    if (n_a > n_b) {
        GX_TRY(read_until(a, n_b, &of_a, &head, err));
        wanted = &of_b.now.head;
    }
    if (GX_MIN(n_a, n_b) > 0 && memcmp(&head, wanted, sizeof(head)) != 0)
        *out = GX_LEDGER_DIVERGED;
    return GX_OK;
}

enum gx_status gx_ledger_compare(const char *path_a, const char *path_b, enum gx_ledger_relation *out,
                                 struct gx_err *err)
{
    struct gx_ledger_copy a = {.fd = -1}, b = {.fd = -1};
    enum gx_status status;
    *out = GX_LEDGER_FOREIGN;
    GX_TRY_OUT(gx_ledger_file_open(path_a, NULL, &a, err));
    GX_TRY_OUT(gx_ledger_file_open(path_b, NULL, &b, err));
    GX_TRY_OUT(compare(&a, &b, out, err));
out:
    gx_ledger_file_close(&a);
    gx_ledger_file_close(&b);
    return status;
}
