/* What is left of an expunged row in the memory of the server. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "served.h"
#include "vec.h"

#define DIM    128
#define ROWS   2000
#define WINDOW 64 /* bytes that are looked for */
#define PLACES 4  /* of a row: windows spread evenly over it */

static struct gx_served served;

/* How often a window of row @row stands in one piece of memory. */
static size_t count_windows(const uint8_t *bytes, size_t len, const uint8_t *row)
{
    size_t n = 0;
    for (size_t place = 0; place < PLACES; place++) {
        const uint8_t *window = row + place * (DIM * sizeof(float) - WINDOW) / (PLACES - 1);
        const uint8_t *at = bytes, *end = bytes + len;
        while ((at = memmem(at, (size_t)(end - at), window, WINDOW)) != NULL) {
            n++;
            at++;
        }
    }
    return n;
}

/* In all memory that the server can write to. */
static size_t count_in_memory(uint64_t row)
{
    char path[64], line[512];
    float values[DIM];
    size_t n = 0;
    gx_people_row(&served.people, row, values, NULL);
    ck_assert_int_eq(gx_vec_normalise(values, DIM, values, NULL), GX_OK); /* as the server stores it */
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
            n += count_windows(bytes, (size_t)got, (const uint8_t *)values);
        free(bytes);
    }
    (void)close(memory);
    (void)fclose(maps);
    return n;
}

/* The server has read its records from disk, as any has that was started since they were enrolled: one that enrolled
 * them itself may still hold the request in memory that was freed, and in the store's write buffer. */
START_TEST(nothing_of_an_expunged_row_is_left_in_memory_when_its_ticket_says_so)
{
    static const char *const engines[] = {"flat", "faiss:Flat", "faiss:IVF16,Flat", "faiss:HNSW16,Flat"};
    static const uint64_t gone[] = {3, 500, 1990};
    char id[GX_PEOPLE_ID_MAX];
    uint64_t first, n;
    struct gx_client_ticket ticket;
    if (_i > 0 && gx_served_flat_only())
        return;
    gx_served_begin(&served, DIM, "[index]\nrebuild_after = 1\n"); /* for the one that cannot remove */
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
        gx_served_await_unindexed(&served, ticket.ticket_id);
        for (uint64_t row = first; row < first + n; row++)
            ck_assert_uint_eq(count_in_memory(row), 0);
        ck_assert_uint_ge(count_in_memory(first + n), PLACES);
    }
    gx_served_end(&served);
}
END_TEST

int main(void)
{
    const struct gx_served_test tests[] = {{nothing_of_an_expunged_row_is_left_in_memory_when_its_ticket_says_so, 4}};
    return gx_served_run("memory", tests, 1);
}
