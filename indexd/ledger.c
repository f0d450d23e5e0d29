/* The outer ledger: one file, written at its end, checked from its start.
 *
 * The path of an append: encode -> write the entry -> fdatasync -> the same in the mirror -> write the mark that
 * acknowledges it -> fdatasync -> the same in the mirror -> the expunged set. The mark says how many entries and bytes,
 * which last number and which head of the chain were acknowledged. There are two places for it, used in turn, so that a
 * crash while one is written leaves the other.
 *
 * What can go wrong:
 * - a crash while an entry is written: the file goes on behind the mark and ends inside that one entry, which was never
 *   acknowledged: it is cut off. A whole entry behind the mark (a crash before its mark) is kept and marked;
 * - anything else, a flipped byte, bytes missing before the mark, bytes behind the one entry that may follow it, is
 *   damage: the ledger is not opened, and the error names file and offset;
 * - a failed write: the old mark is written again, then the file is cut back; if that fails too, what is on the disk is
 *   unknown, and nothing more is appended before a restart has looked at it;
 * - the file is removed or exchanged under the running server: nothing more is appended to what nobody will find again;
 * - an older copy of the whole file cannot be seen from inside: the mirror tells, and the store, which remembers the
 *   last number and the head. */
#include "ledger.h"

#include <pthread.h>
#include <stdlib.h>

#include "clock.h"
#include "ledger_private.h"

/* Where an EXPUNGE stands, and the head of the chain with it: enough to know it again. */
struct place {
    uint64_t number, offset, len;
    struct gx_digest head;
};

struct gx_ledger {
    struct gx_ledger_copy copies[2]; /* the ledger, and its mirror */
    size_t n_copies;
    uint8_t header[GX_LEDGER_HEADER_LEN];
    uint8_t marks[2][GX_LEDGER_MARK_LEN]; /* as they are on the disk */
    struct gx_ledger_mark now;            /* the one of now.n_entries % 2 */
    bool broken;                          /* what is on the disk is unknown */
    struct gx_ledger_ids *expunged;
    struct gx_ledger_faults faults;

    pthread_mutex_t lock; /* guards the following; short */
    struct place *places; /* [n_places] ascending numbers */
    size_t n_places, cap_places;
    uint64_t last_serial;
    struct gx_digest certificate;
};

enum gx_status gx_ledger_create(const char *path, struct gx_err *err)
{
    struct gx_uuid id;
    GX_TRY(gx_keys_uuid(&id, err));
    uint8_t header[GX_LEDGER_HEADER_LEN];
    gx_ledger_entry_encode_header(&id, gx_clock_wall_us(), header);
    return gx_ledger_file_create(path, header, err);
}

/* --- what is known of the entries --- */

/* So that note cannot fail. */
static enum gx_status reserve(struct gx_ledger *ledger, const struct gx_ledger_entry *entry, struct gx_err *err)
{
    if (entry->type != GX_LEDGER_EXPUNGE)
        return GX_OK;
    GX_TRY(gx_ledger_ids_reserve(ledger->expunged, entry->n_records + entry->n_named, err));
    if (ledger->n_places < ledger->cap_places)
        return GX_OK;
    size_t cap = GX_MAX((size_t)64, 2 * ledger->cap_places);
    pthread_mutex_lock(&ledger->lock);
    struct place *places = realloc(ledger->places, cap * sizeof(*places));
    if (places != NULL) {
        ledger->places = places;
        ledger->cap_places = cap;
    }
    pthread_mutex_unlock(&ledger->lock);
    return places != NULL ? GX_OK
                          : gx_fail(err, GX_E_NOMEM, "no memory for the tickets of the ledger: give indexd more");
}

/* There is room. A named subject does not bar new records of that person. */
static void note(struct gx_ledger *ledger, const struct gx_ledger_entry *entry, uint64_t offset, uint64_t len,
                 const struct gx_digest *head)
{
    if (entry->type == GX_LEDGER_EXPUNGE) {
        gx_ledger_ids_add(ledger->expunged, GX_ID_RECORD, entry->records, entry->n_records);
        if (entry->kind != GX_ID_SUBJECT)
            gx_ledger_ids_add(ledger->expunged, entry->kind, entry->named, entry->n_named);
    }
    pthread_mutex_lock(&ledger->lock);
    if (entry->type == GX_LEDGER_EXPUNGE)
        ledger->places[ledger->n_places++] = (struct place){entry->number, offset, len, *head};
    if (entry->type == GX_LEDGER_VERIFIED) {
        ledger->last_serial = entry->serial;
        ledger->certificate = entry->certificate;
    }
    pthread_mutex_unlock(&ledger->lock);
}

/* --- open, close --- */

struct visitor {
    struct gx_ledger *ledger;
    gx_ledger_visit *visit;
    void *arg;
};

static enum gx_status take_entry(void *arg, const struct gx_ledger_entry *entry, uint64_t offset, uint64_t len,
                                 struct gx_err *err)
{
    struct visitor *v = arg;
    GX_TRY(reserve(v->ledger, entry, err));
    note(v->ledger, entry, offset, len, &entry->head);
    return v->visit == NULL ? GX_OK : v->visit(v->arg, entry, err);
}

/* Makes the ledger's file say what was read: cuts a torn tail off, marks an entry that had no mark yet. */
static enum gx_status settle(struct gx_ledger *ledger, const struct gx_ledger_reading *reading, struct gx_err *err)
{
    const struct gx_ledger_copy *copy = &ledger->copies[0];
    memcpy(ledger->header, reading->front.header, sizeof(ledger->header));
    memcpy(ledger->marks, reading->front.raw, sizeof(ledger->marks));
    ledger->now = reading->now;
    if (reading->torn)
        GX_TRY(gx_ledger_file_cut(copy, ledger->now.len, err));
    if (ledger->now.n_entries == reading->front.marks[reading->front.newest].n_entries)
        return GX_OK;
    uint8_t *raw = ledger->marks[ledger->now.n_entries % 2];
    gx_ledger_entry_encode_mark(&ledger->now, raw);
    GX_TRY(gx_ledger_file_sync(copy, err)); /* the entry, before the mark vouches for it */
    return gx_ledger_file_write_durably(copy, GX_LEDGER_MARK_AT(ledger->now.n_entries), raw, GX_LEDGER_MARK_LEN, err);
}

static enum gx_status open_copies(struct gx_ledger *ledger, const char *path, const char *mirror,
                                  struct visitor *visitor, bool *out_torn, struct gx_err *err)
{
    struct gx_ledger_reading reading;
    GX_TRY(gx_ledger_file_open(path, &ledger->faults, &ledger->copies[0], err));
    GX_TRY(gx_ledger_read_all(&ledger->copies[0], take_entry, visitor, &reading, err));
    *out_torn = reading.torn;
    GX_TRY(settle(ledger, &reading, err));
    ledger->n_copies = 1;
    if (mirror == NULL)
        return GX_OK;
    const struct gx_ledger_original original = {&ledger->copies[0], ledger->header,
                                                (const uint8_t(*)[GX_LEDGER_MARK_LEN])ledger->marks, &ledger->now};
    GX_TRY(gx_ledger_mirror_attach(&original, mirror, &ledger->faults, &ledger->copies[1], err));
    ledger->n_copies = 2;
    return GX_OK;
}

enum gx_status gx_ledger_open(const char *path, const char *mirror, gx_ledger_visit *visit, void *arg,
                              struct gx_ledger **out, bool *out_torn, struct gx_err *err)
{
    *out = NULL;
    *out_torn = false;
    enum gx_status status;
    struct gx_ledger *ledger = calloc(1, sizeof(*ledger));
    if (ledger == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory to open the ledger");
    pthread_mutex_init(&ledger->lock, NULL);
    ledger->copies[0].fd = ledger->copies[1].fd = -1;
    struct visitor visitor = {ledger, visit, arg};
    GX_TRY_OUT(gx_ledger_ids_new(&ledger->expunged, err));
    GX_TRY_OUT(open_copies(ledger, path, mirror, &visitor, out_torn, err));
    gx_ledger_ids_share(ledger->expunged);
    *out = ledger;
    return GX_OK;
out:
    gx_ledger_close(ledger);
    return status;
}

void gx_ledger_close(struct gx_ledger *ledger)
{
    if (ledger == NULL)
        return;
    for (int i = 0; i < 2; i++)
        gx_ledger_file_close(&ledger->copies[i]);
    gx_ledger_ids_free(ledger->expunged);
    pthread_mutex_destroy(&ledger->lock);
    free(ledger->places);
    free(ledger);
}

/* --- append --- */

/* Entry, then mark, in every copy; *out_marking: the failure came when marks had begun to change. */
static enum gx_status write_entry(struct gx_ledger *ledger, const uint8_t *bytes, uint64_t len,
                                  const struct gx_ledger_mark *next, const uint8_t mark[GX_LEDGER_MARK_LEN],
                                  bool *out_marking, struct gx_err *err)
{
    *out_marking = false;
    for (size_t i = 0; i < ledger->n_copies; i++)
        GX_TRY(gx_ledger_file_write_durably(&ledger->copies[i], ledger->now.len, bytes, len, err));
    *out_marking = true;
    for (size_t i = 0; i < ledger->n_copies; i++)
        GX_TRY(gx_ledger_file_write_durably(&ledger->copies[i], GX_LEDGER_MARK_AT(next->n_entries), mark,
                                            GX_LEDGER_MARK_LEN, err));
    return GX_OK;
}

/* As if nothing had been appended. The mark first: it must never vouch for what is not there. */
static void take_back(struct gx_ledger *ledger, const struct gx_ledger_mark *next, bool marking)
{
    for (size_t i = 0; i < ledger->n_copies; i++) {
        const struct gx_ledger_copy *copy = &ledger->copies[i];
        if (marking &&
            gx_ledger_file_write_durably(copy, GX_LEDGER_MARK_AT(next->n_entries), ledger->marks[next->n_entries % 2],
                                         GX_LEDGER_MARK_LEN, NULL) != GX_OK)
            ledger->broken = true;
        else if (gx_ledger_file_cut(copy, ledger->now.len, NULL) != GX_OK)
            ledger->broken = true;
    }
}

/* Whether the files may be written to at all. */
static enum gx_status check_files(const struct gx_ledger *ledger, struct gx_err *err)
{
    if (ledger->broken)
        return gx_fail(err, GX_E_IO, "'%s' is in an unknown state since a write failed: look at the disk, then restart",
                       ledger->copies[0].path);
    for (size_t i = 0; i < ledger->n_copies; i++)
        GX_TRY(gx_ledger_file_check_linked(&ledger->copies[i], err));
    return GX_OK;
}

enum gx_status gx_ledger_append(struct gx_ledger *ledger, const struct gx_ledger_entry *entry, struct gx_err *err)
{
    uint64_t len;
    GX_TRY(gx_ledger_entry_check(entry, &len, err));
    GX_TRY(gx_ledger_entry_check_order(entry, ledger->now.last_number, ledger->last_serial, err));
    GX_TRY(check_files(ledger, err));
    GX_TRY(reserve(ledger, entry, err));
    uint8_t *bytes = malloc(len);
    if (bytes == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory to write '%s': give indexd more", ledger->copies[0].path);
    uint64_t number = entry->type == GX_LEDGER_EXPUNGE ? entry->number : ledger->now.last_number;
    struct gx_ledger_mark next = {ledger->now.n_entries + 1, ledger->now.len + len, number, {{0}}};
    uint8_t mark[GX_LEDGER_MARK_LEN];
    bool marking;
    enum gx_status status;
    GX_TRY_OUT(gx_ledger_entry_encode(entry, &ledger->now.head, bytes, len, &next.head, err));
    gx_ledger_entry_encode_mark(&next, mark);
    status = write_entry(ledger, bytes, len, &next, mark, &marking, err);
    if (status != GX_OK) {
        take_back(ledger, &next, marking);
        goto out;
    }
    note(ledger, entry, ledger->now.len, len, &next.head);
    ledger->now = next;
    memcpy(ledger->marks[next.n_entries % 2], mark, sizeof(mark));
out:
    free(bytes);
    return status;
}

/* --- look --- */

uint64_t gx_ledger_entries(const struct gx_ledger *ledger)
{
    return ledger->now.n_entries;
}

uint64_t gx_ledger_last_number(const struct gx_ledger *ledger)
{
    return ledger->now.last_number;
}

void gx_ledger_head(const struct gx_ledger *ledger, struct gx_digest *out)
{
    *out = ledger->now.head;
}

bool gx_ledger_is_expunged(struct gx_ledger *ledger, enum gx_id_kind kind, const struct gx_key *key)
{
    return gx_ledger_ids_has(ledger->expunged, kind, key);
}

void gx_ledger_certificate(struct gx_ledger *ledger, uint64_t *out_serial, struct gx_digest *out_digest)
{
    pthread_mutex_lock(&ledger->lock);
    *out_serial = ledger->last_serial;
    *out_digest = ledger->certificate;
    pthread_mutex_unlock(&ledger->lock);
}

static int compare_numbers(const void *number, const void *place)
{
    uint64_t a = *(const uint64_t *)number, b = ((const struct place *)place)->number;
    return (a > b) - (a < b);
}

static bool find_place(struct gx_ledger *ledger, uint64_t number, struct place *out)
{
    pthread_mutex_lock(&ledger->lock);
    const struct place *place =
        ledger->n_places == 0 ? NULL
                              : bsearch(&number, ledger->places, ledger->n_places, sizeof(*place), compare_numbers);
    if (place != NULL)
        *out = *place;
    pthread_mutex_unlock(&ledger->lock);
    return place != NULL;
}

/* The entry at @place of one copy, into @bytes[place->len]. The head before it stands at the end of what is before it;
 * that it is the right one, the head with the entry says. */
static enum gx_status read_place(const struct gx_ledger *ledger, const struct gx_ledger_copy *copy,
                                 const struct place *place, uint8_t *bytes, struct gx_ledger_entry *out,
                                 struct gx_err *err)
{
    struct gx_digest before;
    enum gx_ledger_finding finding;
    const struct gx_slice header = {ledger->header, sizeof(ledger->header)};
    if (place->offset == GX_LEDGER_FIRST)
        GX_TRY(gx_keys_sha256(&header, 1, &before, err));
    else
        GX_TRY(gx_ledger_file_read(copy, place->offset - GX_LEDGER_TAIL_LEN, &before, sizeof(before), err));
    GX_TRY(gx_ledger_file_read(copy, place->offset, bytes, place->len, err));
    unsigned unknown;
    if (gx_ledger_entry_len(bytes, &unknown) != place->len)
        return gx_ledger_file_damaged(copy, place->offset, "checksum", err);
    GX_TRY(gx_ledger_entry_decode(bytes, place->len, &before, out, &finding, err));
    if (finding != GX_LEDGER_WHOLE || memcmp(&out->head, &place->head, sizeof(out->head)) != 0)
        return gx_ledger_file_damaged(copy, place->offset, "not the entry that was written", err);
    return GX_OK;
}

enum gx_status gx_ledger_find(struct gx_ledger *ledger, uint64_t number, struct gx_arena *arena,
                              struct gx_ledger_entry *out, struct gx_err *err)
{
    struct place place;
    *out = (struct gx_ledger_entry){0};
    if (!find_place(ledger, number, &place))
        return gx_fail(err, GX_E_NOT_FOUND, "the ledger has no ticket %llu", (unsigned long long)number);
    uint8_t *bytes = gx_arena_alloc(arena, place.len);
    if (bytes == NULL)
        return gx_fail(err, GX_E_TOO_LARGE, "no room to read ticket %llu from the ledger", (unsigned long long)number);
    enum gx_status status = read_place(ledger, &ledger->copies[0], &place, bytes, out, err);
    if (status != GX_OK && ledger->n_copies > 1 &&
        read_place(ledger, &ledger->copies[1], &place, bytes, out, NULL) == GX_OK)
        status = GX_OK;
    if (status != GX_OK)
        *out = (struct gx_ledger_entry){0};
    return status;
}

void gx_ledger_set_fault(struct gx_ledger *ledger, gx_ledger_fault *fault, void *arg)
{
    struct gx_ledger_faults *faults = &ledger->faults; /* others may be writing */
    atomic_store(&faults->fault, NULL);
    atomic_store(&faults->arg, arg);
    atomic_store(&faults->n_steps, 0);
    atomic_store(&faults->fault, fault);
}
