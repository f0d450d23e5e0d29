/* What is left of expunged records in the files of the data directory, for every form of index, by the plainest search
 * there is: of the float row, of whatever the saved index holds of it, and of everything that names it.
 *
 * What is found before and must not be found afterwards:
 *   every window of 64 bytes of the row as it is stored; ids of record, subject and arrest; the attribute
 *   the row's code in the saved index: its very bytes; of the x4fs forms, where the half bytes of 32 rows are mixed,
 *   the block of bytes that it is part of, and any entry of that row in a later file
 * A code under a quantiser that is trained anew is another one: that a later file holds none is shown by the rows that
 * it lists. What lies below the files, in freed blocks of the disk, no test of files can see. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codes.h"
#include "held.h"
#include "saved_index.h"
#include "served.h"
#include "vec.h"

#define DIM   64
#define ROWS  1500
#define FIRST 700 /* the arrest that goes: rows FIRST and FIRST + 1; FIRST + 2 and FIRST - 1 are the neighbours */
#define GONE  2
#define NOTE  "a remark on this photo alone"

static const char *const engines[] = {
    "flat",
    "scan",
    "hnsw",
    "faiss:Flat",
    "faiss:IVF8,Flat",
    "faiss:IVF8,SQ8",
    "faiss:IVF8,SQfp16",
    "faiss:IVF8_HNSW8,SQ8",
    "faiss:IVF8,PQ16",
    "faiss:IVF8,PQ16x4fs",
    "faiss:HNSW8,Flat",
    "faiss:HNSW8,SQ8",
    "faiss:OPQ16,IVF8,SQ8",
    "faiss:OPQ16_32,IVF8,PQ16x4fs",
};
#define ENGINES ((int)(sizeof(engines) / sizeof(engines[0])))

static const char *const names[] = {"record-to-go-1", "record-to-go-2", "subject-to-go", "arrest-to-go", NOTE};
#define NAMES (sizeof(names) / sizeof(names[0]))

static struct gx_served served;

/* What the saved index held of a row that goes. */
static struct {
    uint8_t bytes[DIM * sizeof(float) * 4];
    size_t len;
} codes[GONE];

static void stored_row(uint64_t row, float out[DIM])
{
    gx_people_row(&served.people, row, out, NULL);
    ck_assert_int_eq(gx_vec_normalise(out, DIM, out, NULL), GX_OK);
}

static size_t windows_of(uint64_t row)
{
    float values[DIM];
    stored_row(row, values);
    return gx_held_windows(served.server.data, values, sizeof(values));
}

/* ---------------------------------------------------------------- planting */

/* All rows, in the order of the people; two of them under names of their own. */
static void fill(void)
{
    struct gx_served_batch b;
    const char *key = "remark", *note = NOTE;
    gx_served_make_batch(&served.people, 0, ROWS, &b);
    for (size_t i = 0; i < GONE; i++) {
        struct gx_client_record *r = &b.records[FIRST + i];
        r->record_id = names[i];
        r->subject_id = "subject-to-go";
        r->arrest_id = "arrest-to-go";
        r->attribute_keys = &key;
        r->attribute_values = &note;
    }
    for (size_t i = 0; i < ROWS; i += 500)
        gx_served_ok(gx_client_insert(served.client, "g", GX_SERVED_EMBEDDER, b.records + i, b.rows + i * DIM, 500, DIM,
                                      NULL, NULL));
    gx_served_free_batch(&b);
}

static bool is_flat_coded(const char *engine)
{
    size_t len = strlen(engine);
    return len > 5 && strcmp(engine + len - 5, ",Flat") == 0;
}

static bool is_saved(const char *engine)
{
    struct gx_saved_index index;
    bool saved = gx_saved_index_open(&index, served.server.data, engine) && index.n == ROWS;
    gx_saved_index_close(&index);
    return saved;
}

/* Row @row of the people under the numbers that the store gave them: ascending, without a hole. */
static const struct gx_saved_entry *entry_of(const struct gx_saved_index *index, uint64_t row)
{
    ck_assert_uint_eq(index->entries[index->n - 1].rno - index->entries[0].rno, index->n - 1);
    return gx_saved_index_find(index, index->entries[0].rno + row);
}

/* Larger values have larger codes: these are the codes of the rows that they are taken for. Of IVF they are those of
 * the distance to the list's centre, so rows of one list are compared. */
static void check_order(const struct gx_saved_index *index, uint64_t row)
{
    const struct gx_saved_entry *mine = entry_of(index, row);
    float a[DIM], b[DIM];
    size_t n = 0;
    stored_row(row, a);
    for (uint64_t other = 0; other < ROWS; other++) {
        const struct gx_saved_entry *theirs = entry_of(index, other);
        if (theirs->list != mine->list || other == row)
            continue;
        stored_row(other, b);
        for (size_t i = 0; i < DIM; i++)
            ck_assert(a[i] < b[i] ? mine->code[i] <= theirs->code[i] : mine->code[i] >= theirs->code[i]);
        n++;
    }
    ck_assert_uint_gt(n, 10);
}

/* The codes that a native engine makes of the rows that go: they are in no file at any time. */
static void note_native_codes(void)
{
    struct gx_codes *made;
    ck_assert_int_eq(gx_codes_new(DIM, GX_CODES_INT8, &made, NULL), GX_OK);
    ck_assert_int_eq(gx_codes_reserve(made, GONE, NULL), GX_OK);
    for (uint32_t i = 0; i < GONE; i++) {
        float row[DIM];
        stored_row(FIRST + i, row);
        gx_codes_put(made, i, row);
        codes[i].len = DIM;
        ck_assert(codes[i].len <= sizeof(codes[i].bytes));
        memcpy(codes[i].bytes, gx_codes_int8(made, i), codes[i].len);
        ck_assert_uint_eq(gx_held_count(served.server.data, codes[i].bytes, codes[i].len), 0);
    }
    gx_codes_free(made);
}

/* Takes down what the saved index holds of the rows that go, and that the search finds it. */
static void note_codes(const char *engine)
{
    struct gx_saved_index index;
    ck_assert(gx_saved_index_open(&index, served.server.data, engine));
    for (size_t i = 0; i < GONE; i++) {
        const struct gx_saved_entry *e = entry_of(&index, FIRST + i);
        float row[DIM];
        stored_row(FIRST + i, row);
        codes[i].len = e->block != NULL ? index.block_len : index.code_len;
        ck_assert(codes[i].len >= 16 && codes[i].len <= sizeof(codes[i].bytes));
        memcpy(codes[i].bytes, e->block != NULL ? e->block : e->code, codes[i].len);
        if (is_flat_coded(engine) || strcmp(engine, "faiss:Flat") == 0)
            ck_assert_mem_eq(e->code, row, sizeof(row));
        else if (strstr(engine, "SQ8") != NULL && strstr(engine, "OPQ") == NULL)
            check_order(&index, FIRST + i);
        ck_assert_uint_ge(gx_held_count(served.server.data, codes[i].bytes, codes[i].len), 1);
    }
    gx_saved_index_close(&index);
}

/* ---------------------------------------------------------------- afterwards */

static void check_index(const char *engine, uint64_t first_rno, bool must_be)
{
    struct gx_saved_index index;
    bool there = gx_saved_index_open(&index, served.server.data, engine);
    ck_assert(there || !must_be);
    if (there) {
        ck_assert_uint_eq(index.n, ROWS - GONE);
        for (uint64_t i = 0; i < GONE; i++)
            ck_assert_ptr_null(gx_saved_index_find(&index, first_rno + FIRST + i));
        ck_assert_ptr_nonnull(gx_saved_index_find(&index, first_rno + FIRST - 1));
        ck_assert_ptr_nonnull(gx_saved_index_find(&index, first_rno + FIRST + GONE));
        gx_saved_index_close(&index);
    }
}

static void check_gone(void)
{
    for (size_t i = 0; i < NAMES; i++)
        ck_assert_msg(gx_held_count(served.server.data, names[i], strlen(names[i])) == 0, "'%s' is in a file",
                      names[i]);
    for (size_t i = 0; i < GONE; i++) {
        ck_assert_uint_eq(windows_of(FIRST + i), 0);
        if (codes[i].len > 0)
            ck_assert_uint_eq(gx_held_count(served.server.data, codes[i].bytes, codes[i].len), 0);
        ck_assert(!gx_served_finds(&served, "g", FIRST + i, 1000));
    }
    for (size_t i = 0; i < NAMES; i++)
        gx_server_check_log(&served.server, names[i]);
}

static void check_neighbour(uint64_t row)
{
    float values[DIM];
    char id[GX_PEOPLE_ID_MAX];
    const char *ids[] = {id};
    struct gx_client_records *records;
    stored_row(row, values);
    gx_people_record_id(row, id);
    ck_assert_uint_ge(gx_held_count(served.server.data, values, sizeof(values)), 1);
    ck_assert_uint_ge(gx_held_count(served.server.data, id, strlen(id)), 1);
    gx_served_ok(gx_client_record_get(served.client, "g", ids, 1, true, &records));
    ck_assert_uint_eq(records->n_records, 1);
    ck_assert_mem_eq(records->records[0].embedding, values, sizeof(values));
    gx_client_records_free(records);
    ck_assert(gx_served_finds(&served, "g", row, 10));
}

static void check_all(void)
{
    check_gone();
    check_neighbour(FIRST - 1);
    check_neighbour(FIRST + GONE);
    ck_assert_uint_eq(gx_served_records(&served, "g"), ROWS - GONE);
}

START_TEST(nothing_of_an_expunged_record_is_in_any_file_when_its_ticket_is_verified)
{
    bool in_file = _i == ENGINES; /* the float rows, in a file of the data directory */
    const char *engine = in_file ? "scan" : engines[_i], *ids[] = {"arrest-to-go"};
    bool indexes = strncmp(engine, "faiss", 5) == 0,
         native = strcmp(engine, "scan") == 0 || strcmp(engine, "hnsw") == 0;
    struct gx_client_ticket ticket;
    uint64_t first_rno = 0;
    if (indexes && gx_served_flat_only())
        return;
    memset(codes, 0, sizeof(codes));
    /* Built anew soon, for those that cannot remove; one has the files that it has by default. */
    gx_served_begin(&served, DIM,
                    in_file                       ? "[rows]\nfloat = file\n" GX_SERVED_NO_BALLAST
                    : strcmp(engine, "flat") != 0 ? "[index]\nrebuild_after = 1\n" GX_SERVED_NO_BALLAST
                                                  : NULL);
    gx_served_create(&served, "g", engine);
    fill();
    gx_served_await_indexed(&served, "g", engine);
    gx_served_restart(&served, true);
    gx_served_await_indexed(&served, "g", engine);
    if (indexes) {
        struct gx_saved_index index;
        gx_served_wait_until(is_saved(engine));
        note_codes(engine);
        ck_assert(gx_saved_index_open(&index, served.server.data, engine));
        first_rno = index.entries[0].rno;
        gx_saved_index_close(&index);
    }
    if (native)
        note_native_codes();
    for (size_t i = 0; i < NAMES; i++)
        ck_assert_uint_ge(gx_held_count(served.server.data, names[i], strlen(names[i])), 1);
    for (size_t i = 0; i < GONE; i++)
        ck_assert_uint_ge(windows_of(FIRST + i), 7);

    gx_served_ok(
        gx_client_expunge(served.client, "g", GX_CLIENT_ARREST, ids, 1, "order 1", GONE, false, NULL, &ticket));
    ticket = gx_served_await_verified(&served, ticket.ticket_id);
    check_all();
    ck_assert_int_eq(ticket.method, GX_CLIENT_VERIFY_BYTES);
    ck_assert_uint_ge(ticket.control_hits, 2 * GONE); /* row and record of each */
    ck_assert_uint_eq(ticket.files_left_out, 0);
    if (indexes)
        check_index(engine, first_rno, false);
    for (int orderly = 0; orderly < 2; orderly++) {
        gx_served_restart(&served, orderly == 0);
        check_all();
        gx_served_await_indexed(&served, "g", engine);
        check_all();
        if (indexes)
            check_index(engine, first_rno, orderly == 0);
    }
    gx_served_end(&served);
}
END_TEST

int main(void)
{
    const struct gx_served_test tests[] = {
        {nothing_of_an_expunged_record_is_in_any_file_when_its_ticket_is_verified, ENGINES + 1}};
    return gx_served_run("files", tests, 1);
}
