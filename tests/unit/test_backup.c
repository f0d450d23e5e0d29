/* Backups: whole or not there, known to every ticket that they concern, never in the way of an erasure for long. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "backup_private.h"
#include "clock.h"
#include "file.h"
#include "held.h"
#include "restore.h"
#include "room.h"

#define ROW_BYTES (GX_ROOM_DIM * sizeof(float))

static struct gx_room room;
static char base[80];
static char place[3][100];

static void begin(uint64_t n)
{
    gx_room_begin(&room);
    gx_room_create(&room, "g", "flat");
    gx_room_fill(&room, "g", n);
    snprintf(base, sizeof(base), "%s-backups", room.dir);
    ck_assert_int_eq(mkdir(base, 0700), 0);
    for (size_t i = 0; i < 3; i++)
        snprintf(place[i], sizeof(place[i]), "%s/b%zu", base, i + 1);
}

static void end(void)
{
    struct gx_err err;
    gx_room_end(&room);
    ck_assert_int_eq(gx_file_remove_tree(base, &err), GX_OK);
}

static bool exists(const char *dir, const char *name)
{
    char path[300];
    snprintf(path, sizeof(path), "%s%s", dir, name);
    return access(path, F_OK) == 0;
}

static struct gx_backup backup_ok(size_t i, int64_t expires_in_us)
{
    struct gx_backup backup;
    struct gx_err err;
    ck_assert_msg(gx_room_backup(&room, place[i], expires_in_us, &backup, &err) == GX_OK, "%s", err.text);
    return backup;
}

static size_t listed(bool with_gone, struct gx_backup **out)
{
    size_t n;
    struct gx_err err;
    gx_arena_reset(&room.arena);
    ck_assert_int_eq(gx_backup_list(room.galleries, with_gone, &room.arena, out, &n, &err), GX_OK);
    return n;
}

static void assert_nothing_left(size_t i)
{
    struct gx_backup *backups;
    ck_assert(!exists(place[i], "") && !exists(place[i], ".tmp") && !exists(room.dir, "/backup.tmp"));
    ck_assert_uint_eq(listed(false, &backups), 0);
}

static uint64_t expunge_row(struct gx_room *where, uint64_t row)
{
    struct gx_expunge_out out;
    struct gx_err err;
    char id[GX_PEOPLE_ID_MAX];
    const char *ids = id;
    gx_people_record_id(row, id);
    ck_assert_msg(gx_room_expunge(where, "g", GX_ID_RECORD, &ids, 1, -1, false, NULL, &out, &err) == GX_OK, "%s",
                  err.text);
    return out.ticket.number;
}

static struct gx_ticket ticket_of(struct gx_room *where, uint64_t number)
{
    struct gx_ticket ticket;
    struct gx_err err;
    gx_arena_reset(&where->arena);
    ck_assert_msg(gx_expunge_ticket(where->galleries, number, &where->arena, &ticket, &err) == GX_OK, "%s", err.text);
    ck_assert_int_eq(gx_backup_name(where->galleries, &ticket, 1, &where->arena, &err), GX_OK);
    return ticket;
}

static bool is_verified(struct gx_room *where, uint64_t number)
{
    return ticket_of(where, number).state == GX_TICKET_VERIFIED;
}

static struct gx_ticket await_verified(struct gx_room *where, uint64_t number)
{
    gx_room_wait_until(is_verified(where, number));
    return ticket_of(where, number);
}

static bool certificate_says(uint64_t number, const char *text)
{
    uint8_t key[GX_KEY_CERTIFICATE_LEN];
    struct gx_slice value;
    struct gx_err err;
    gx_codec_key_certificate(number, key);
    gx_arena_reset(&room.arena);
    ck_assert_int_eq(gx_store_get(room.galleries->store, GX_CF_DEFAULT, (struct gx_slice){key, sizeof(key)},
                                  &room.arena, &value, &err),
                     GX_OK);
    return memmem(value.data, value.len, text, strlen(text)) != NULL;
}

static bool names(const struct gx_ticket *ticket, const char *ids)
{
    char text[256] = "";
    for (size_t i = 0; i < ticket->n_backups; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%.*s", i > 0 ? " " : "",
                 (int)ticket->backups[i].len, (const char *)ticket->backups[i].data);
    ck_assert_msg(strcmp(text, ids) == 0, "the ticket names [%s], not [%s]", text, ids);
    return true;
}

/* --- making --- */

START_TEST(a_backup_is_whole_private_and_entered)
{
    begin(100);
    struct gx_backup backup = backup_ok(0, 0), *backups;
    struct gx_manifest manifest;
    struct gx_err err;
    struct stat st;
    ck_assert(exists(place[0], "/secret.key") && exists(place[0], "/certificate.key") &&
              exists(place[0], "/certificate.pub") && exists(place[0], "/expunge.log") && exists(place[0], "/FORMAT") &&
              exists(place[0], "/store/CURRENT"));
    ck_assert(!exists(place[0], ".tmp") && !exists(room.dir, "/backup.tmp"));
    ck_assert_int_eq(stat(place[0], &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0700);
    ck_assert_int_eq(gx_backup_files_manifest(place[0], &room.arena, &manifest, &err), GX_OK);
    ck_assert(manifest.complete);
    ck_assert_uint_eq(manifest.backup, 1);
    ck_assert_uint_eq(manifest.n_files, backup.n_files);
    for (size_t i = 0; i < manifest.n_files; i++) { /* copies, not links */
        char path[300];
        snprintf(path, sizeof(path), "%s/%.*s", place[0], (int)manifest.files[i].path.len,
                 (const char *)manifest.files[i].path.data);
        ck_assert_int_eq(stat(path, &st), 0);
        ck_assert_uint_eq(st.st_nlink, 1);
        ck_assert_uint_eq((uint64_t)st.st_size, manifest.files[i].n_bytes);
        ck_assert_uint_eq(st.st_mode & 0077 & ~0044u, 0);
    }
    ck_assert_uint_eq(listed(true, &backups), 1);
    ck_assert_int_eq(backups[0].state, GX_BACKUP_COMPLETE);
    ck_assert_str_eq(backups[0].directory, place[0]);
    ck_assert_uint_eq(backups[0].n_bytes, backup.n_bytes);
    ck_assert_int_gt(backups[0].created_at_us, 0);
    end();
}
END_TEST

START_TEST(places_where_no_backup_can_be_are_refused)
{
    char inside[120], long_one[GX_BACKUP_DIR_MAX + 10], dots[120], missing[120];
    begin(10);
    snprintf(inside, sizeof(inside), "%s/store/b", room.dir);
    snprintf(dots, sizeof(dots), "%s/..", base);
    snprintf(missing, sizeof(missing), "%s/not/there", base);
    memset(long_one, 'a', sizeof(long_one) - 1);
    long_one[0] = '/';
    long_one[sizeof(long_one) - 1] = '\0';
    ck_assert_int_eq(mkdir(place[1], 0700), 0);
    const struct {
        const char *dir;
        enum gx_status status;
    } cases[] = {{"", GX_E_INVALID},       {"relative", GX_E_INVALID}, {"b/c", GX_E_INVALID},
                 {"/", GX_E_INVALID},      {inside, GX_E_INVALID},     {dots, GX_E_INVALID},
                 {long_one, GX_E_INVALID}, {place[1], GX_E_EXISTS},    {"/tmp/a\nb", GX_E_INVALID},
                 {missing, GX_E_IO},       {room.dir, GX_E_INVALID}};
    for (size_t i = 0; i < GX_COUNT_OF(cases); i++) {
        struct gx_err err;
        enum gx_status status = gx_room_backup(&room, cases[i].dir, 0, NULL, &err);
        ck_assert_msg(status == cases[i].status, "%s: %d %s", cases[i].dir, (int)status, err.text);
    }
    assert_nothing_left(0);
    ck_assert(exists(place[1], "")); /* it was not ours */
    end();
}
END_TEST

static enum gx_status fail_at(void *arg, uint64_t ordinal)
{
    return ordinal == *(uint64_t *)arg ? GX_E_IO : GX_OK;
}

START_TEST(a_backup_that_fails_at_any_step_leaves_nothing)
{
    begin(50);
    uint64_t at = 1;
    struct gx_err err;
    for (;; at++) {
        gx_backup_set_fault(room.galleries, fail_at, &at);
        enum gx_status status = gx_room_backup(&room, place[0], 0, NULL, &err);
        if (status == GX_OK)
            break;
        ck_assert_int_eq(status, GX_E_IO);
        assert_nothing_left(0);
    }
    ck_assert_uint_gt(at, 12);
    gx_backup_set_fault(room.galleries, NULL, NULL);
    struct gx_backup *backups;
    size_t n = listed(true, &backups);
    ck_assert_uint_gt(n, 8);
    for (size_t i = 0; i < n; i++)
        ck_assert_int_eq(backups[i].state, i == 0 ? GX_BACKUP_COMPLETE : GX_BACKUP_GONE);
    ck_assert(gx_room_has_record(&room, "g", 7));
    ck_assert(is_verified(&room, await_verified(&room, expunge_row(&room, 7)).number)); /* nothing holds it up */
    end();
}
END_TEST

START_TEST(a_full_or_failing_store_makes_no_backup_and_no_mess)
{
    begin(50);
    struct gx_err err;
    for (uint64_t at = 1;; at++) {
        gx_store_set_fault(room.galleries->store, fail_at, &at);
        enum gx_status status = gx_room_backup(&room, place[0], 0, NULL, &err);
        gx_store_set_fault(room.galleries->store, NULL, NULL);
        if (status == GX_OK)
            break;
        ck_assert(!exists(place[0], ".tmp") && !exists(room.dir, "/backup.tmp"));
        ck_assert_uint_lt(at, 20);
    }
    end();
}
END_TEST

/* --- a running one --- */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool holds, held; /* the backup is to wait; it waits */
    bool stops;
    bool done;
    enum gx_status status;
} run = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

/* Waits in the midst of the copies: the links are there. */
static bool on_stop(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&run.lock);
    while (run.holds && exists(place[0], ".tmp/store/CURRENT")) {
        run.held = true;
        pthread_cond_broadcast(&run.wake);
        pthread_cond_wait(&run.wake, &run.lock);
    }
    bool stops = run.stops;
    pthread_mutex_unlock(&run.lock);
    return stops;
}

static void on_done(void *arg, const struct gx_backup *backup, const struct gx_err *err)
{
    (void)arg;
    (void)backup;
    pthread_mutex_lock(&run.lock);
    run.status = err == NULL ? GX_OK : err->status;
    run.done = true;
    pthread_cond_broadcast(&run.wake);
    pthread_mutex_unlock(&run.lock);
}

static void start_held(void)
{
    const struct gx_backup_in in = {.directory = gx_slice_text(place[0]), .stop = on_stop, .on_done = on_done};
    run.holds = true;
    run.held = run.done = run.stops = false;
    gx_backup_submit(room.galleries, &in);
    pthread_mutex_lock(&run.lock);
    while (!run.held && !run.done)
        pthread_cond_wait(&run.wake, &run.lock);
    ck_assert(run.held);
    pthread_mutex_unlock(&run.lock);
}

static void let_go(bool stops)
{
    pthread_mutex_lock(&run.lock);
    run.holds = false;
    run.stops = stops;
    pthread_cond_broadcast(&run.wake);
    pthread_mutex_unlock(&run.lock);
}

static enum gx_status await_done(void)
{
    pthread_mutex_lock(&run.lock);
    while (!run.done)
        pthread_cond_wait(&run.wake, &run.lock);
    pthread_mutex_unlock(&run.lock);
    return run.status;
}

START_TEST(while_one_is_made_everything_goes_on_but_another)
{
    struct gx_backup *backups;
    struct gx_err err;
    begin(50);
    start_held();
    ck_assert_int_eq(gx_room_backup(&room, place[1], 0, NULL, &err), GX_E_STATE);
    ck_assert_uint_eq(listed(false, &backups), 1);
    ck_assert_int_eq(backups[0].state, GX_BACKUP_RUNNING);
    ck_assert_int_eq(gx_backup_remove(room.galleries, 1, true, &backups[0], &err), GX_E_STATE);
    ck_assert(gx_room_finds(&room, "g", 7, 1));
    ck_assert_int_eq(gx_room_enrol(&room, "g", 60, 5, NULL, NULL, &err), GX_OK);
    let_go(false);
    ck_assert_int_eq(await_done(), GX_OK);
    ck_assert_uint_eq(listed(false, &backups), 1);
    ck_assert_int_eq(backups[0].state, GX_BACKUP_COMPLETE);
    end();
}
END_TEST

START_TEST(one_that_is_broken_off_leaves_nothing)
{
    begin(50);
    start_held();
    let_go(true);
    ck_assert_int_eq(await_done(), GX_E_CANCELLED);
    assert_nothing_left(0);
    end();
}
END_TEST

static void *close_room(void *arg)
{
    gx_room_close(arg);
    return NULL;
}

static bool is_stopping(void)
{
    struct gx_backups *b = room.galleries->backups;
    pthread_mutex_lock(&b->lock);
    bool stopping = b->stopping;
    pthread_mutex_unlock(&b->lock);
    return stopping;
}

START_TEST(a_stop_of_the_server_breaks_it_off)
{
    pthread_t closer;
    begin(50);
    start_held();
    ck_assert_int_eq(pthread_create(&closer, NULL, close_room, &room), 0);
    gx_room_wait_until(is_stopping());
    let_go(false);
    ck_assert_int_eq(pthread_join(closer, NULL), 0);
    ck_assert_int_eq(await_done(), GX_E_UNAVAILABLE);
    gx_room_open(&room);
    assert_nothing_left(0);
    end();
}
END_TEST

static bool holds_up_an_erasure(bool due)
{
    struct gx_backups *b = room.galleries->backups;
    pthread_mutex_lock(&b->lock);
    bool holds = due ? b->yield : b->n_held_up > 0;
    pthread_mutex_unlock(&b->lock);
    return holds;
}

START_TEST(an_erasure_waits_for_a_backup_and_then_is_carried_out)
{
    float gone[GX_ROOM_DIM];
    begin(200);
    memcpy(gone, gx_rows_floats(room.galleries->list[0]->rows, 100), ROW_BYTES);
    start_held();
    uint64_t number = expunge_row(&room, 100);
    gx_room_wait_until(holds_up_an_erasure(false));
    ck_assert_int_eq(ticket_of(&room, number).state, GX_TICKET_ACCEPTED);
    ck_assert(!gx_room_has_record(&room, "g", 100));
    let_go(false);
    ck_assert_int_eq(await_done(), GX_OK);
    struct gx_ticket ticket = await_verified(&room, number);
    ck_assert(names(&ticket, "B-00000001"));
    ck_assert(certificate_says(number, "B-00000001"));
    ck_assert_int_eq(ticket.method, GX_TICKET_BYTES);
    ck_assert_uint_eq(gx_held_windows(room.dir, gone, ROW_BYTES), 0);
    ck_assert_uint_gt(gx_held_windows(place[0], gone, ROW_BYTES), 0); /* that is why it is named */
    end();
}
END_TEST

START_TEST(an_erasure_that_is_due_breaks_a_backup_off)
{
    begin(50);
    room.galleries->options.erase_deadline_us = 600000;
    start_held();
    uint64_t number = expunge_row(&room, 10);
    gx_room_wait_until(holds_up_an_erasure(true));
    let_go(false);
    enum gx_status status = await_done();
    ck_assert_int_eq(status, GX_E_UNAVAILABLE);
    assert_nothing_left(0);
    struct gx_ticket ticket = await_verified(&room, number);
    ck_assert(names(&ticket, ""));
    ck_assert(!certificate_says(number, "B-00000001"));
    end();
}
END_TEST

/* --- which a ticket names --- */

START_TEST(a_ticket_names_the_backups_from_before_its_erasure_until_they_are_gone)
{
    struct gx_backup gone;
    struct gx_err err;
    begin(50);
    uint64_t early = await_verified(&room, expunge_row(&room, 1)).number;
    backup_ok(0, 0);
    backup_ok(1, (int64_t)3600 * 1000000);
    uint64_t number = await_verified(&room, expunge_row(&room, 2)).number;
    backup_ok(2, 0);
    struct gx_ticket ticket = ticket_of(&room, early);
    ck_assert(names(&ticket, ""));
    ticket = ticket_of(&room, number);
    ck_assert(names(&ticket, "B-00000001 B-00000002"));
    ck_assert(certificate_says(number, "B-00000001") && certificate_says(number, "B-00000002"));
    ck_assert(!certificate_says(number, "B-00000003"));
    ck_assert_int_eq(gx_backup_remove(room.galleries, 1, false, &gone, &err), GX_OK);
    ck_assert_int_eq(gone.state, GX_BACKUP_GONE);
    ck_assert(!exists(place[0], "") && !exists(place[0], ".tmp"));
    ck_assert_int_eq(gx_backup_remove(room.galleries, 1, false, &gone, &err), GX_OK); /* again */
    ticket = ticket_of(&room, number);
    ck_assert(names(&ticket, "B-00000002"));
    gx_room_close(&room);
    gx_room_open(&room);
    ticket = ticket_of(&room, number);
    ck_assert(names(&ticket, "B-00000002"));
    ck_assert_int_eq(gx_backup_remove(room.galleries, 77, false, &gone, &err), GX_E_NOT_FOUND);
    end();
}
END_TEST

START_TEST(an_expired_backup_is_deleted_and_not_named_any_more)
{
    struct gx_backup *backups;
    begin(50);
    backup_ok(0, 1);
    uint64_t number = await_verified(&room, expunge_row(&room, 2)).number;
    struct gx_ticket ticket = ticket_of(&room, number);
    ck_assert(names(&ticket, ""));
    gx_backup_tidy(room.galleries);
    ck_assert(!exists(place[0], ""));
    ck_assert_uint_eq(listed(true, &backups), 1);
    ck_assert_int_eq(backups[0].state, GX_BACKUP_GONE);
    end();
}
END_TEST

START_TEST(a_backup_that_was_moved_away_is_gone_only_when_somebody_says_so)
{
    struct gx_backup *backups, gone;
    struct gx_err err;
    begin(20);
    backup_ok(0, 0);
    ck_assert_int_eq(rename(place[0], place[1]), 0);
    ck_assert_int_eq(gx_backup_remove(room.galleries, 1, false, &gone, &err), GX_E_STATE);
    gx_backup_tidy(room.galleries);
    ck_assert_uint_eq(listed(false, &backups), 1);
    ck_assert_int_eq(gx_backup_remove(room.galleries, 1, true, &gone, &err), GX_OK);
    ck_assert_uint_eq(listed(false, &backups), 0);
    ck_assert(exists(place[1], "/" GX_MANIFEST_NAME)); /* it is not where we may delete */
    end();
}
END_TEST

/* Nothing is deleted that is not the backup itself. */
START_TEST(what_stands_in_its_place_or_beside_its_files_is_left_alone)
{
    char path[200];
    struct gx_backup gone;
    struct gx_err err;
    begin(20);
    backup_ok(0, 0);
    snprintf(path, sizeof(path), "%s/notes.txt", place[0]);
    ck_assert_int_eq(gx_file_write(path, gx_slice_text("mine"), 0600, false, &err), GX_OK);
    ck_assert_int_eq(gx_backup_remove(room.galleries, 1, false, &gone, &err), GX_OK);
    snprintf(path, sizeof(path), "%s.tmp/notes.txt", place[0]);
    ck_assert_int_eq(access(path, F_OK), 0);
    ck_assert(!exists(place[0], ".tmp/secret.key") && !exists(place[0], ".tmp/store"));
    backup_ok(1, 0);
    ck_assert_int_eq(rename(place[1], place[2]), 0);
    ck_assert_int_eq(mkdir(place[1], 0700), 0);
    ck_assert_int_eq(gx_backup_remove(room.galleries, 2, true, &gone, &err), GX_OK);
    ck_assert(exists(place[1], ""));
    end();
}
END_TEST

/* --- what a crash leaves --- */

START_TEST(what_a_crash_left_of_a_backup_is_settled)
{
    struct gx_manifest manifest;
    struct gx_backup *backups;
    struct gx_err err;
    char path[200];
    begin(20);
    struct gx_backup whole = backup_ok(0, 0), part = {.created_at_us = 5}, lost = {.created_at_us = 6};
    /* As if the end of the first had not been entered, the second had died among its copies, the third's disk is away.
     */
    whole.state = GX_BACKUP_UNFINISHED;
    snprintf(part.directory, sizeof(part.directory), "%s", place[1]);
    snprintf(lost.directory, sizeof(lost.directory), "%s/away/b", base);
    ck_assert_int_eq(gx_backup_note_begun(room.galleries, &part, &err), GX_OK);
    ck_assert_int_eq(gx_backup_note_begun(room.galleries, &lost, &err), GX_OK);
    ck_assert_int_eq(gx_backup_files_manifest(place[0], &room.arena, &manifest, &err), GX_OK);
    snprintf(path, sizeof(path), "%s.tmp", place[1]);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    manifest.backup = part.number;
    manifest.complete = false;
    manifest.n_files = 0;
    ck_assert_int_eq(gx_backup_files_put_manifest(path, &manifest, &room.arena, &err), GX_OK);
    snprintf(path, sizeof(path), "%s.tmp/secret.key", place[1]);
    ck_assert_int_eq(gx_file_write(path, gx_slice_text("half"), 0600, false, &err), GX_OK);
    snprintf(path, sizeof(path), "%s/backup.tmp", room.dir);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    gx_room_close(&room);
    gx_room_open(&room);
    ck_assert_int_ne(access(path, F_OK), 0);
    gx_backup_tidy(room.galleries);
    ck_assert_uint_eq(listed(true, &backups), 3);
    ck_assert_int_eq(backups[2].state, GX_BACKUP_COMPLETE);
    ck_assert_uint_eq(backups[2].n_files, whole.n_files);
    ck_assert_int_eq(backups[1].state, GX_BACKUP_GONE);
    ck_assert(!exists(place[1], ".tmp"));
    ck_assert_int_eq(backups[0].state, GX_BACKUP_UNFINISHED); /* who knows? */
    struct gx_ticket ticket = await_verified(&room, expunge_row(&room, 3));
    ck_assert(names(&ticket, "B-00000001 B-00000003"));
    end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("backup");
    TCase *tc = tcase_create("backup");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, a_backup_is_whole_private_and_entered);
    tcase_add_test(tc, places_where_no_backup_can_be_are_refused);
    tcase_add_test(tc, a_backup_that_fails_at_any_step_leaves_nothing);
    tcase_add_test(tc, a_full_or_failing_store_makes_no_backup_and_no_mess);
    tcase_add_test(tc, while_one_is_made_everything_goes_on_but_another);
    tcase_add_test(tc, one_that_is_broken_off_leaves_nothing);
    tcase_add_test(tc, a_stop_of_the_server_breaks_it_off);
    tcase_add_test(tc, an_erasure_waits_for_a_backup_and_then_is_carried_out);
    tcase_add_test(tc, an_erasure_that_is_due_breaks_a_backup_off);
    tcase_add_test(tc, a_ticket_names_the_backups_from_before_its_erasure_until_they_are_gone);
    tcase_add_test(tc, an_expired_backup_is_deleted_and_not_named_any_more);
    tcase_add_test(tc, a_backup_that_was_moved_away_is_gone_only_when_somebody_says_so);
    tcase_add_test(tc, what_stands_in_its_place_or_beside_its_files_is_left_alone);
    tcase_add_test(tc, what_a_crash_left_of_a_backup_is_settled);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
