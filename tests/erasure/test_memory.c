/* What is left of an expunged row in the memory of the server. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "codes.h"
#include "saved_index.h"
#include "served.h"
#include "vec.h"

#define DIM_MAX 512
#define ROWS    2000
#define WINDOW  64 /* bytes that are looked for */
#define PLACES  4  /* of a row: windows spread evenly over it */

static struct gx_served served;
static uint32_t dim;

/* Pieces that are looked for, all of one length. */
struct sought {
    const uint8_t *pieces[PLACES];
    size_t n, len;
};

static size_t count_in_piece(const uint8_t *bytes, size_t len, const struct sought *sought)
{
    size_t n = 0;
    for (size_t i = 0; i < sought->n; i++) {
        const uint8_t *at = bytes, *end = bytes + len;
        while ((at = memmem(at, (size_t)(end - at), sought->pieces[i], sought->len)) != NULL) {
            n++;
            at++;
        }
    }
    return n;
}

/* In all memory that the server can write to. */
static size_t count_sought(const struct sought *sought)
{
    char path[64], line[512];
    size_t n = 0;
    (void)snprintf(path, sizeof(path), "/proc/%d/maps", (int)served.server.pid);
    FILE *maps = fopen(path, "re");
    (void)snprintf(path, sizeof(path), "/proc/%d/mem", (int)served.server.pid);
    int memory = open(path, O_RDONLY | O_CLOEXEC);
    ck_assert_msg(maps != NULL && memory >= 0, "cannot look into the server's memory: run this as root");
    while (fgets(line, sizeof(line), maps) != NULL) {
        uint64_t from, to;
        char readable, writable;
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %c%c", &from, &to, &readable, &writable) != 4 || readable != 'r' ||
            writable != 'w')
            continue;
        uint8_t *bytes = malloc(to - from);
        ck_assert_ptr_nonnull(bytes);
        ssize_t got = pread(memory, bytes, to - from, (off_t)from);
        if (got > 0)
            n += count_in_piece(bytes, (size_t)got, sought);
        free(bytes);
    }
    (void)close(memory);
    (void)fclose(maps);
    return n;
}

/* Windows of row @row, spread over it. */
static size_t count_in_memory(uint64_t row)
{
    float values[DIM_MAX];
    struct sought sought = {.n = PLACES, .len = WINDOW};
    gx_people_row(&served.people, row, values, NULL);
    ck_assert_int_eq(gx_vec_normalise(values, dim, values, NULL), GX_OK); /* as the server stores it */
    for (size_t place = 0; place < PLACES; place++)
        sought.pieces[place] = (const uint8_t *)values + place * (dim * sizeof(float) - WINDOW) / (PLACES - 1);
    return count_sought(&sought);
}

/* The server has read its records from disk, as any has that was started since they were enrolled. */
START_TEST(nothing_of_an_expunged_row_is_left_in_memory_when_its_ticket_says_so)
{
    static const char *const engines[] = {
        "flat", "scan", "hnsw", "faiss:Flat", "faiss:IVF16,Flat", "faiss:HNSW16,Flat"};
    static const uint64_t gone[] = {3, 500, 1990};
    char id[GX_PEOPLE_ID_MAX];
    uint64_t first, n;
    struct gx_client_ticket ticket;
    if (strncmp(engines[_i], "faiss", 5) == 0 && gx_served_flat_only())
        return;
    dim = 128;
    gx_served_begin(&served, dim, "[index]\nrebuild_after = 1\n"); /* for the one that cannot remove */
    gx_served_create(&served, "g", engines[_i]);
    gx_served_fill(&served, "g", ROWS);
    gx_served_await_indexed(&served, "g", engines[_i]);
    gx_served_restart(&served, false); /* recovery moves the log into tables */
    gx_served_await_indexed(&served, "g", engines[_i]);
    gx_served_restart(&served, true);
    gx_served_await_indexed(&served, "g", engines[_i]);
    for (size_t i = 0; i < sizeof(gone) / sizeof(gone[0]); i++) {
        gx_served_arrest_of(&served.people, gone[i], id, &first, &n);
        for (uint64_t row = first; row < first + n; row++)
            ck_assert_uint_ge(count_in_memory(row), PLACES); /* the search has teeth */
        gx_served_expunge_arrest(&served, "g", gone[i], &first, &n, &ticket);
        (void)gx_served_await_verified(&served, ticket.ticket_id);
        for (uint64_t row = first; row < first + n; row++)
            ck_assert_uint_eq(count_in_memory(row), 0);
        ck_assert_uint_ge(count_in_memory(first + n), PLACES);
    }
    gx_served_end(&served);
}
END_TEST

/* The same of what an index makes of a row. Which bytes these are is read from the saved index before. */
START_TEST(nothing_of_an_expunged_rows_code_is_left_in_memory_either)
{
    static const char *const engines[] = {"faiss:IVF16,SQ8", "faiss:IVF16,SQfp16", "faiss:IVF8,PQ32",
                                          "faiss:HNSW16,SQ8", "faiss:OPQ16,IVF16,SQ8"};
    enum { GONE = 500 };
    struct gx_saved_index index;
    struct gx_client_ticket ticket;
    char id[GX_PEOPLE_ID_MAX];
    uint64_t first, n;
    if (gx_served_flat_only())
        return;
    dim = 128;
    gx_served_begin(&served, dim, "[index]\nrebuild_after = 1\n"); /* for the one that cannot remove */
    gx_served_create(&served, "g", engines[_i]);
    gx_served_fill(&served, "g", ROWS);
    gx_served_await_indexed(&served, "g", engines[_i]);
    gx_served_restart(&served, true);
    gx_served_await_indexed(&served, "g", engines[_i]);
    ck_assert(gx_saved_index_open(&index, served.server.data, engines[_i]) && index.n == ROWS && index.code_len >= 32);
    gx_served_arrest_of(&served.people, GONE, id, &first, &n);
    uint64_t first_rno = index.entries[0].rno;
    const struct sought kept = {{gx_saved_index_find(&index, first_rno + first + n)->code}, 1, index.code_len};
    const struct sought gone = {{gx_saved_index_find(&index, first_rno + first)->code}, 1, index.code_len};
    ck_assert(count_sought(&gone) == 1 && count_sought(&kept) == 1);
    gx_served_expunge_arrest(&served, "g", GONE, &first, &n, &ticket);
    (void)gx_served_await_verified(&served, ticket.ticket_id);
    ck_assert_uint_eq(count_sought(&gone), 0);
    if (_i != 3) /* that one was built anew, under another quantiser */
        ck_assert_uint_eq(count_sought(&kept), 1);
    gx_saved_index_close(&index);
    gx_served_end(&served);
}
END_TEST

/* The codes of native engines, which stand in no file: made here as the engine makes them, of the 64 rows that the
 * signs of their 2-bit codes stand among. Of 2-bit codes there are none in a graph. */
START_TEST(nothing_of_an_expunged_rows_native_code_is_left_in_memory)
{
    static const char *const engines[] = {"scan", "hnsw"};
    enum { GONE = 500, BLOCK = 64 };
    struct gx_codes *codes, *without;
    struct gx_client_ticket ticket;
    char id[GX_PEOPLE_ID_MAX];
    uint64_t first, n, base = GONE / BLOCK * BLOCK;
    dim = 128;
    ck_assert_int_eq(gx_codes_new(dim, GX_CODES_INT8 | GX_CODES_2BIT, &codes, NULL), GX_OK);
    ck_assert_int_eq(gx_codes_new(dim, GX_CODES_INT8 | GX_CODES_2BIT, &without, NULL), GX_OK);
    ck_assert_int_eq(gx_codes_reserve(codes, BLOCK, NULL), GX_OK);
    ck_assert_int_eq(gx_codes_reserve(without, BLOCK, NULL), GX_OK);
    gx_served_begin(&served, dim, NULL);
    gx_served_create(&served, "g", engines[_i]);
    gx_served_fill(&served, "g", ROWS);
    gx_served_await_indexed(&served, "g", engines[_i]);
    gx_served_arrest_of(&served.people, GONE, id, &first, &n);
    ck_assert(first > base && first < base + BLOCK); /* row base stays */
    for (uint32_t slot = 0; slot < BLOCK; slot++) {
        float values[DIM_MAX];
        gx_people_row(&served.people, base + slot, values, NULL);
        ck_assert_int_eq(gx_vec_normalise(values, dim, values, NULL), GX_OK);
        gx_codes_put(codes, slot, values);
        if (base + slot < first || base + slot >= first + n)
            gx_codes_put(without, slot, values);
    }
    uint32_t slot = (uint32_t)(first - base);
    const struct sought gone[] = {{{(const uint8_t *)gx_codes_int8(codes, slot)}, 1, dim},
                                  {{gx_codes_bits(codes, slot)}, 1, codes->bits_n / 8},
                                  {{gx_codes_signs(codes, 0)}, 1, BLOCK * codes->bits_n / 8}};
    const struct sought kept[] = {{{(const uint8_t *)gx_codes_int8(codes, 0)}, 1, dim},
                                  {{gx_codes_bits(codes, 0)}, 1, codes->bits_n / 8},
                                  {{gx_codes_signs(without, 0)}, 1, BLOCK * codes->bits_n / 8}};
    size_t kinds = _i == 0 ? 3 : 1;
    for (size_t kind = 0; kind < kinds; kind++)
        ck_assert(count_sought(&gone[kind]) == 1 && count_sought(&kept[kind]) == (kind < 2 ? 1 : 0));
    gx_served_expunge_arrest(&served, "g", GONE, &first, &n, &ticket);
    (void)gx_served_await_verified(&served, ticket.ticket_id);
    for (size_t kind = 0; kind < kinds; kind++)
        ck_assert(count_sought(&gone[kind]) == 0 && count_sought(&kept[kind]) == 1);
    gx_codes_free(codes);
    gx_codes_free(without);
    gx_served_end(&served);
}
END_TEST

/* Everything that may copy the row: enrolment alone and among others, searches that ask for it and that find it, the
 * row itself asked for. */
static void use(uint64_t row)
{
    struct gx_client_result *result;
    struct gx_client_records *records;
    char id[GX_PEOPLE_ID_MAX];
    const char *ids = id;
    gx_people_record_id(row, id);
    gx_served_ok(gx_served_insert(served.client, &served.people, "g", row, 1, NULL, NULL)); /* again: no harm */
    gx_served_ok(gx_served_search(served.client, &served.people, "g", row, NULL, &result));
    gx_client_result_free(result);
    gx_served_ok(gx_client_record_get(served.client, "g", &ids, 1, true, &records));
    gx_client_records_free(records);
}

/* The server that enrolled a row itself held it in requests and in the store's write buffer as well. Not for
 * rows of less than 256 values: the allocator overwrites what is freed, but not pieces of up to a KiB that a thread
 * keeps for its next use. */
START_TEST(nor_in_the_memory_of_the_server_that_enrolled_it)
{
    enum { GONE = 700 };
    struct gx_client_ticket ticket;
    uint64_t first, n, gone;
    char id[GX_PEOPLE_ID_MAX];
    dim = DIM_MAX;
    gx_served_begin(&served, dim, NULL);
    gx_served_create(&served, "g", "flat");
    gx_served_arrest_of(&served.people, GONE, id, &first, &n);
    for (uint64_t row = 0; row < ROWS; row += 100)
        gx_served_ok(gx_served_insert(served.client, &served.people, "g", row, 100, NULL, NULL));
    for (uint64_t row = first; row < first + n; row++) {
        use(row);
        ck_assert_uint_ge(count_in_memory(row), PLACES); /* the search has teeth */
    }
    gx_served_expunge_arrest(&served, "g", GONE, &gone, &n, &ticket);
    (void)gx_served_await_verified(&served, ticket.ticket_id);
    for (uint64_t row = first; row < first + n; row++)
        ck_assert_uint_eq(count_in_memory(row), 0);
    ck_assert_uint_ge(count_in_memory(first + n), PLACES);
    gx_served_end(&served);
}
END_TEST

int main(void)
{
    const struct gx_served_test tests[] = {
        {nothing_of_an_expunged_row_is_left_in_memory_when_its_ticket_says_so, 6},
        {nothing_of_an_expunged_rows_code_is_left_in_memory_either, 5},
        {nothing_of_an_expunged_rows_native_code_is_left_in_memory, 2},
        {nor_in_the_memory_of_the_server_that_enrolled_it, 0},
    };
    return gx_served_run("memory", tests, sizeof(tests) / sizeof(tests[0]));
}
