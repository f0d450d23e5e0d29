/* verify-absent: from indexctl through a real server to its files. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "served.h"

#define DIM  64
#define ROWS 300

static struct gx_served served;

/* Runs indexctl verify-absent with @arguments; what it printed (both streams), and its exit status. */
static int verify(const char *arguments, char out[8192])
{
    char command[1000];
    (void)snprintf(command, sizeof(command), "%s --server %s %s 2>&1", getenv("INDEXCTL_BIN"), served.server.address,
                   arguments);
    FILE *pipe = popen(command, "re");
    ck_assert_ptr_nonnull(pipe);
    size_t n = fread(out, 1, 8191, pipe);
    out[n] = '\0';
    int status = pclose(pipe);
    ck_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void expect_text(const char *out, const char *wanted)
{
    ck_assert_msg(strstr(out, wanted) != NULL, "no '%s' in: %s", wanted, out);
}

/* The embeddings of rows [first, first + n) as a file. */
static void write_probes(uint64_t first, size_t n, char path[200])
{
    (void)snprintf(path, 200, "%s/probes.fvecs", served.server.base);
    FILE *file = fopen(path, "we");
    ck_assert_ptr_nonnull(file);
    for (size_t i = 0; i < n; i++) {
        float row[DIM];
        int32_t dim = DIM;
        gx_people_row(&served.people, first + i, row, NULL);
        ck_assert_uint_eq(fwrite(&dim, sizeof(dim), 1, file), 1);
        ck_assert_uint_eq(fwrite(row, sizeof(row), 1, file), 1);
    }
    ck_assert_int_eq(fclose(file), 0);
}

static void begin(void)
{
    gx_served_begin(&served, DIM, NULL);
    gx_served_create(&served, "g", "flat");
    gx_served_fill(&served, "g", ROWS);
}

START_TEST(sealed_arrest_is_not_absent_before_and_absent_afterwards)
{
    char out[8192], path[200], arguments[400], id[GX_PEOPLE_ID_MAX];
    uint64_t first, n;
    struct gx_client_ticket ticket;
    begin();
    gx_served_arrest_of(&served.people, 10, id, &first, &n);
    gx_people_record_id(first, id);
    (void)snprintf(arguments, sizeof(arguments), "verify-absent g --record %s", id);
    ck_assert_int_eq(verify(arguments, out), GX_E_STATE);
    expect_text(out, ": NOT ABSENT");
    expect_text(out, "it is found");
    expect_text(out, "it is stored");
    expect_text(out, "no order names it");
    expect_text(out, "at byte ");
    expect_text(out, "of store/");
    expect_text(out, "1 of 1 not absent");

    gx_served_expunge_arrest(&served, "g", 10, &first, &n, &ticket);
    gx_served_restart(&served, false); /* what was enrolled and removed since is not written to a table file */
    gx_served_wait_until(verify(arguments, out) == 0);
    expect_text(out, ": ABSENT");
    expect_text(out, "not found");
    expect_text(out, "not stored");
    expect_text(out, "an order removed or barred it");
    expect_text(out, "nothing found");

    write_probes(first, 2, path); /* the second is of the next arrest, or of this one */
    (void)snprintf(arguments, sizeof(arguments), "verify-absent g --probe %s:0", path);
    ck_assert_int_eq(verify(arguments, out), 0);
    expect_text(out, "face 0 in g: ABSENT");
    expect_text(out, "nearest       cosine ");
    write_probes(first + n, 2, path);
    (void)snprintf(arguments, sizeof(arguments), "--json verify-absent g --probe %s", path);
    ck_assert_int_eq(verify(arguments, out), GX_E_STATE);
    expect_text(out, "{\"gallery\":\"g\",\"probe\":0,\"absent\":false,\"searchable\":true,\"stored\":true,");
    expect_text(out, "\"probe\":1,");
    expect_text(out, "\"first_hits\":[{\"file\":\"store/");
    expect_text(out, "2 of 2 not absent");
    gx_served_end(&served);
}
END_TEST

START_TEST(several_records_are_each_told_of)
{
    char out[8192];
    begin();
    ck_assert_int_eq(verify("--json verify-absent g --record photo-99999998 --record photo-00000001", out), GX_E_STATE);
    expect_text(out, "\"record_id\":\"photo-99999998\",\"absent\":true,\"searchable\":false,\"stored\":false,"
                     "\"expunged\":false,\"files_searched\":true,\"note\":\"\",\"files\":");
    expect_text(out, "\"record_id\":\"photo-00000001\",\"absent\":false,\"searchable\":true");
    expect_text(out, "1 of 2 not absent");
    ck_assert_int_eq(verify("verify-absent g --record photo", out), 0);
    expect_text(out, "ABSENT from search and store; the files were not searched");
    expect_text(out, "too short");
    gx_served_end(&served);
}
END_TEST

START_TEST(what_cannot_be_checked_is_refused)
{
    char out[8192];
    float row[DIM];
    struct gx_client_absence a;
    begin();
    ck_assert_int_eq(verify("verify-absent g", out), GX_E_INVALID);
    ck_assert_int_eq(verify("verify-absent g --record a --probe b", out), GX_E_INVALID);
    ck_assert_int_eq(verify("verify-absent nowhere --record photo-00000001", out), GX_E_NOT_FOUND);
    ck_assert_int_eq(verify("verify-absent g --probe /nonexistent.npy", out), GX_E_NOT_FOUND);
    gx_people_row(&served.people, 3, row, NULL);
    gx_served_refused(gx_client_absent_face(served.client, "g", "other", "1", row, DIM, &a), GX_E_EMBEDDER);
    gx_served_refused(gx_client_absent_face(served.client, "g", GX_SERVED_EMBEDDER, row, DIM - 1, &a), GX_E_INVALID);
    gx_served_refused(gx_client_absent_face(served.client, "g", GX_SERVED_EMBEDDER, row, 0, &a), GX_E_INVALID);
    gx_served_refused(gx_client_absent_record(served.client, "g", "", &a), GX_E_INVALID);
    gx_served_ok(gx_client_absent_face(served.client, "g", GX_SERVED_EMBEDDER, row, DIM, &a));
    ck_assert(!a.absent && a.searchable && a.has_nearest && a.nearest_cosine > 0.999999 && a.n_first >= 1);
    gx_served_end(&served);
}
END_TEST

int main(void)
{
    const struct gx_served_test tests[] = {
        {sealed_arrest_is_not_absent_before_and_absent_afterwards, 0},
        {several_records_are_each_told_of, 0},
        {what_cannot_be_checked_is_refused, 0},
    };
    return gx_served_run("absent", tests, sizeof(tests) / sizeof(tests[0]));
}
