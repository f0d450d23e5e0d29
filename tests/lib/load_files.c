/* What the files of a dead server hold of what was expunged under load: two plain passes over every file. */
#include <stdlib.h>
#include <string.h>

#include "held.h"
#include "load.h"
#include "vec.h"

#define ID_PREFIX   "photo-"
#define ROW_BYTES   (GX_LOAD_DIM * sizeof(float))
#define PIECE       64 /* bytes of a row that are compared */
#define TABLE_BITS  20
#define TABLE_SLOTS ((size_t)1 << TABLE_BITS)

static struct gone_row {
    uint64_t row;
    uint8_t bytes[PIECE];
} * gone_rows; /* [n_gone] */
static size_t n_gone;
static uint32_t table[TABLE_SLOTS]; /* index into gone_rows + 1, by the first 8 bytes of the row */
static bool (*is_gone)[2];          /* [batches] */
static uint64_t n_batches;

static size_t slot_of(const uint8_t *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof(word));
    return (size_t)(word * UINT64_C(0x9e3779b97f4a7c15) >> (64 - TABLE_BITS));
}

static void add_row(const struct gx_people *people, uint64_t row)
{
    float values[GX_LOAD_DIM];
    struct gone_row *r = &gone_rows[n_gone++];
    gx_people_row(people, row, values, NULL);
    ck_assert_int_eq(gx_vec_normalise(values, GX_LOAD_DIM, values, NULL), GX_OK); /* as the server stores it */
    r->row = row;
    memcpy(r->bytes, values, PIECE);
    size_t slot = slot_of(r->bytes);
    while (table[slot] != 0)
        slot = (slot + 1) % TABLE_SLOTS;
    table[slot] = (uint32_t)n_gone;
}

static void look_for_rows(const char *path, const uint8_t *content, size_t len)
{
    for (size_t at = 0; at + PIECE <= len; at++)
        for (size_t slot = slot_of(content + at); table[slot] != 0; slot = (slot + 1) % TABLE_SLOTS) {
            const struct gone_row *r = &gone_rows[table[slot] - 1];
            ck_assert_msg(memcmp(r->bytes, content + at, PIECE) != 0, "row %d was VERIFIED, and is in %s at %zu",
                          (int)r->row, path, at);
        }
}

static void look_for_ids(const char *path, const uint8_t *content, size_t len)
{
    const uint8_t *at = content, *end = content + len;
    for (; (at = memmem(at, (size_t)(end - at), ID_PREFIX, strlen(ID_PREFIX))) != NULL; at++) {
        char digits[9] = "";
        memcpy(digits, at + strlen(ID_PREFIX), (size_t)(end - at) >= 14 ? 8 : 0);
        if (strspn(digits, "0123456789") != 8)
            continue; /* cut in two by a block of the log: its first digits alone are another number */
        uint64_t row = strtoull(digits, NULL, 10), batch = row / GX_LOAD_RECORDS;
        ck_assert_msg(batch >= n_batches || !is_gone[batch][row % GX_LOAD_RECORDS / GX_LOAD_HALF],
                      "record %d was VERIFIED, and is named in %s at %zu", (int)row, path, (size_t)(at - content));
    }
}

static void look(void *arg, const char *path, size_t offset, const uint8_t *content, size_t len)
{
    (void)arg;
    (void)offset;
    look_for_rows(path, content, len);
    look_for_ids(path, content, len);
}

void gx_load_check_files(struct gx_load *load, const struct gx_served *served, bool all)
{
    n_batches = atomic_load(&load->n_batches);
    n_gone = 0;
    memset(table, 0, sizeof(table));
    is_gone = calloc(n_batches + 1, sizeof(*is_gone));
    gone_rows = calloc(n_batches * GX_LOAD_RECORDS + 1, sizeof(*gone_rows));
    ck_assert(is_gone != NULL && gone_rows != NULL && n_batches * GX_LOAD_RECORDS < TABLE_SLOTS / 2);
    for (uint64_t b = 0; b < n_batches; b++)
        for (uint64_t half = 0; half < 2; half++) {
            unsigned ticket = atomic_load(&load->tickets[b][half]);
            is_gone[b][half] = all ? atomic_load(&load->arrests[b][half]) == GX_LOAD_EXPUNGED
                                   : ticket != 0 && atomic_load(&load->certificates[ticket]) != 0;
            for (uint64_t i = 0; is_gone[b][half] && i < GX_LOAD_HALF; i++)
                add_row(&served->people, b * GX_LOAD_RECORDS + half * GX_LOAD_HALF + i);
        }
    gx_held_visit(served->server.data, look, NULL);
    free(is_gone);
    free(gone_rows);
}
