/* A data directory out of a backup: every byte is checked, and what was expunged since does not come back. */
#include <check.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
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

static struct gx_room room, other; /* the original; what was restored */
static char base[80], backup_dir[100], new_dir[64], live[100];

static void begin(uint64_t n)
{
    struct gx_err err;
    gx_room_begin(&room);
    gx_room_create(&room, "g", "flat");
    gx_room_fill(&room, "g", n);
    snprintf(base, sizeof(base), "%s-r", room.dir);
    ck_assert_int_eq(mkdir(base, 0700), 0);
    snprintf(backup_dir, sizeof(backup_dir), "%s/backup", base);
    snprintf(new_dir, sizeof(new_dir), "%.50s/new", base);
    snprintf(live, sizeof(live), "%s/expunge.log", room.dir);
    ck_assert_msg(gx_room_backup(&room, backup_dir, 0, NULL, &err) == GX_OK, "%s", err.text);
}

static void end(void)
{
    struct gx_err err;
    gx_room_end(&room);
    ck_assert_int_eq(gx_file_remove_tree(base, &err), GX_OK);
}

static enum gx_status restore(const char *ledger_path, const char *live_ledger, struct gx_restore_out *out,
                              struct gx_err *err)
{
    const struct gx_restore_in in = {
        .from = backup_dir, .data_dir = new_dir, .ledger_path = ledger_path, .live_ledger = live_ledger};
    return gx_restore_run(&in, out, err);
}

/* Opens what was restored. */
static void open_other(const char *ledger_path)
{
    memset(&other, 0, sizeof(other));
    strcpy(other.dir, new_dir);
    other.options = room.options;
    other.options.data_dir = other.dir;
    other.options.ledger_path = ledger_path;
    other.people = room.people;
    gx_arena_init(&other.arena, (size_t)256 << 20);
    gx_room_open(&other);
}

static void close_other(void)
{
    gx_room_close(&other);
    gx_arena_fini(&other.arena);
}

static uint64_t expunge_row(uint64_t row)
{
    struct gx_expunge_out out;
    struct gx_err err;
    char id[GX_PEOPLE_ID_MAX];
    const char *ids = id;
    gx_people_record_id(row, id);
    ck_assert_msg(gx_room_expunge(&room, "g", GX_ID_RECORD, &ids, 1, -1, false, NULL, &out, &err) == GX_OK, "%s",
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

static void await_verified(struct gx_room *where, uint64_t number)
{
    gx_room_wait_until(ticket_of(where, number).state == GX_TICKET_VERIFIED);
}

static bool names(struct gx_room *where, uint64_t number, const char *id)
{
    struct gx_ticket ticket = ticket_of(where, number);
    for (size_t i = 0; i < ticket.n_backups; i++)
        if (gx_slice_equal(ticket.backups[i], gx_slice_text(id)))
            return true;
    return false;
}

START_TEST(what_was_backed_up_is_there_again)
{
    struct gx_restore_out out;
    struct gx_err err;
    begin(300);
    ck_assert_int_eq(gx_room_enrol(&room, "g", 400, 5, NULL, NULL, &err), GX_OK); /* since */
    ck_assert_msg(restore(NULL, NULL, &out, &err) == GX_OK, "%s", err.text);
    ck_assert_uint_eq(out.backup, 1);
    ck_assert(!out.has_live && !out.expired);
    open_other(NULL);
    for (uint64_t row = 0; row < 300; row += 37) {
        ck_assert(gx_room_has_record(&other, "g", row));
        ck_assert(gx_room_finds(&other, "g", row, 1));
    }
    ck_assert(!gx_room_has_record(&other, "g", 400));
    close_other();
    end();
}
END_TEST

START_TEST(what_was_expunged_since_is_absent_and_erased_again_with_the_live_ledger)
{
    struct gx_restore_out out;
    struct gx_err err;
    float gone[GX_ROOM_DIM];
    begin(200);
    memcpy(gone, gx_rows_floats(room.galleries->list[0]->rows, 100), ROW_BYTES);
    uint64_t number = expunge_row(100);
    await_verified(&room, number);
    uint64_t serial = ticket_of(&room, number).certificate;
    gx_room_close(&room);
    ck_assert_msg(restore(NULL, live, &out, &err) == GX_OK, "%s", err.text);
    ck_assert(out.has_live && !out.live_behind);
    ck_assert_uint_gt(gx_held_windows(new_dir, gone, ROW_BYTES), 0); /* the backup has it */
    open_other(NULL);
    ck_assert(!gx_room_has_record(&other, "g", 100));
    ck_assert(!gx_room_finds(&other, "g", 100, 200));
    await_verified(&other, number);
    ck_assert_uint_eq(gx_held_windows(new_dir, gone, ROW_BYTES), 0);
    ck_assert_uint_gt(ticket_of(&other, number).certificate, serial); /* the chain goes on */
    ck_assert(names(&other, number, "B-00000001"));
    ck_assert_int_eq(gx_room_enrol(&other, "g", 100, 1, NULL, NULL, &err), GX_E_EXPUNGED);
    ck_assert_int_eq(gx_room_enrol(&other, "g", 500, 1, NULL, NULL, &err), GX_OK);
    close_other();
    gx_room_open(&room);
    end();
}
END_TEST

/* The restored store is older than B-2, which holds the record as well. */
START_TEST(backups_made_since_are_known_from_the_ledger)
{
    struct gx_restore_out out;
    struct gx_backup *backups;
    struct gx_err err;
    char second[100], third[100];
    size_t n;
    begin(50);
    snprintf(second, sizeof(second), "%s/second", base);
    snprintf(third, sizeof(third), "%s/third", base);
    ck_assert_int_eq(gx_room_backup(&room, second, 0, NULL, &err), GX_OK);
    ck_assert_int_eq(gx_room_backup(&room, third, 0, NULL, &err), GX_OK);
    struct gx_backup gone;
    ck_assert_int_eq(gx_backup_remove(room.galleries, 3, false, &gone, &err), GX_OK);
    uint64_t number = expunge_row(10);
    await_verified(&room, number);
    gx_room_close(&room);
    ck_assert_msg(restore(NULL, live, &out, &err) == GX_OK, "%s", err.text);
    open_other(NULL);
    await_verified(&other, number);
    ck_assert(names(&other, number, "B-00000001") && names(&other, number, "B-00000002") &&
              !names(&other, number, "B-00000003"));
    gx_backup_tidy(other.galleries);
    gx_arena_reset(&other.arena);
    ck_assert_int_eq(gx_backup_list(other.galleries, true, &other.arena, &backups, &n, &err), GX_OK);
    ck_assert_uint_eq(n, 3);
    ck_assert_int_eq(backups[0].state, GX_BACKUP_GONE);
    ck_assert_int_eq(backups[1].state, GX_BACKUP_COMPLETE);
    ck_assert_int_eq(backups[2].state, GX_BACKUP_COMPLETE); /* its end was not in itself */
    snprintf(third, sizeof(third), "%s/fourth", base);
    struct gx_backup fourth;
    ck_assert_int_eq(gx_room_backup(&other, third, 0, &fourth, &err), GX_OK);
    ck_assert_uint_eq(fourth.number, 4); /* no number twice */
    close_other();
    gx_room_open(&room);
    end();
}
END_TEST

/* --- refusals --- */

static void flip(const char *path, off_t at)
{
    uint8_t byte;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(pread(fd, &byte, 1, at), 1);
    byte ^= 0x10;
    ck_assert_int_eq(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static void assert_refused(enum gx_status want, const char *says)
{
    struct gx_restore_out out;
    struct gx_err err;
    enum gx_status status = restore(NULL, NULL, &out, &err);
    ck_assert_msg(status == want, "%s: %d %s", says, (int)status, status == GX_OK ? "" : err.text);
    ck_assert_msg(strstr(err.text, says) != NULL, "'%s' does not say '%s'", err.text, says);
    ck_assert_int_ne(access(new_dir, F_OK), 0);
}

START_TEST(a_flipped_byte_in_any_file_is_refused_by_its_name)
{
    struct gx_manifest manifest;
    struct gx_err err;
    char path[300];
    begin(100);
    ck_assert_int_eq(gx_backup_files_manifest(backup_dir, &room.arena, &manifest, &err), GX_OK);
    ck_assert_uint_gt(manifest.n_files, 10);
    for (size_t i = 0; i < manifest.n_files; i++) {
        const struct gx_manifest_file *file = &manifest.files[i];
        char name[200];
        snprintf(name, sizeof(name), "%.*s", (int)file->path.len, (const char *)file->path.data);
        snprintf(path, sizeof(path), "%s/%s", backup_dir, name);
        if (file->n_bytes == 0)
            continue;
        off_t places[] = {0, (off_t)file->n_bytes / 2, (off_t)file->n_bytes - 1};
        for (size_t p = 0; p < 3; p++) {
            flip(path, places[p]);
            assert_refused(GX_E_CORRUPT, strrchr(path, '/') + 1);
            flip(path, places[p]);
        }
    }
    snprintf(path, sizeof(path), "%s/" GX_MANIFEST_NAME, backup_dir);
    flip(path, 40);
    assert_refused(GX_E_CORRUPT, GX_MANIFEST_NAME);
    flip(path, 40);
    struct gx_restore_out out;
    ck_assert_msg(restore(NULL, NULL, &out, &err) == GX_OK, "%s", err.text); /* it was that only */
    end();
}
END_TEST

START_TEST(missing_longer_and_shorter_files_are_refused)
{
    char path[300], aside[310];
    begin(20);
    snprintf(path, sizeof(path), "%s/secret.key", backup_dir);
    snprintf(aside, sizeof(aside), "%s.aside", path);
    ck_assert_int_eq(rename(path, aside), 0);
    assert_refused(GX_E_CORRUPT, "secret.key' is missing");
    ck_assert_int_eq(symlink(aside, path), 0); /* not a file that was written there */
    assert_refused(GX_E_IO, "secret.key");
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(rename(aside, path), 0);
    ck_assert_int_eq(truncate(path, 33), 0);
    assert_refused(GX_E_CORRUPT, "secret.key");
    ck_assert_int_eq(truncate(path, 31), 0);
    assert_refused(GX_E_CORRUPT, "secret.key");
    snprintf(path, sizeof(path), "%s/" GX_MANIFEST_NAME, backup_dir);
    ck_assert_int_eq(unlink(path), 0);
    assert_refused(GX_E_NOT_FOUND, "is no backup");
    end();
}
END_TEST

START_TEST(an_interrupted_backup_and_a_place_that_is_taken_are_refused)
{
    struct gx_manifest manifest;
    struct gx_restore_out out;
    struct gx_err err;
    begin(20);
    ck_assert_int_eq(mkdir(new_dir, 0700), 0);
    ck_assert_int_eq(restore(NULL, NULL, &out, &err), GX_E_EXISTS);
    ck_assert_int_eq(rmdir(new_dir), 0);
    ck_assert_int_eq(gx_backup_files_manifest(backup_dir, &room.arena, &manifest, &err), GX_OK);
    manifest.complete = false;
    manifest.n_files = 0;
    ck_assert_int_eq(gx_backup_files_put_manifest(backup_dir, &manifest, &room.arena, &err), GX_OK);
    assert_refused(GX_E_STATE, "was interrupted");
    end();
}
END_TEST

/* --- ledgers --- */

START_TEST(a_ledger_that_is_in_use_or_of_another_directory_is_refused)
{
    struct gx_restore_out out;
    struct gx_err err;
    char foreign[120];
    begin(20);
    ck_assert_int_eq(restore(NULL, live, &out, &err), GX_E_IN_USE); /* the server runs */
    snprintf(foreign, sizeof(foreign), "%s/foreign", base);
    ck_assert_int_eq(gx_ledger_create(foreign, &err), GX_OK);
    ck_assert_int_eq(restore(NULL, foreign, &out, &err), GX_E_STATE);
    ck_assert_int_eq(restore(foreign, NULL, &out, &err), GX_E_STATE);
    snprintf(foreign, sizeof(foreign), "%s/nothing", base);
    ck_assert_int_eq(restore(NULL, foreign, &out, &err), GX_E_NOT_FOUND);
    ck_assert_int_ne(access(new_dir, F_OK), 0);
    end();
}
END_TEST

START_TEST(of_two_ledgers_the_one_that_knows_more_is_taken)
{
    struct gx_restore_out out;
    struct gx_err err;
    char older[120], fixed[120];
    enum gx_ledger_relation relation;
    begin(20);
    snprintf(older, sizeof(older), "%s/older", base);
    snprintf(fixed, sizeof(fixed), "%s/fixed.log", base);
    ck_assert_int_eq(gx_ledger_copy(live, older, &err), GX_OK); /* B-1 is begun in it, like in the backup's */
    await_verified(&room, expunge_row(3));
    ck_assert_int_eq(gx_file_remove_tree(backup_dir, &err), GX_OK);
    ck_assert_int_eq(gx_room_backup(&room, backup_dir, 0, NULL, &err), GX_OK);
    gx_room_close(&room);
    ck_assert_msg(restore(NULL, older, &out, &err) == GX_OK, "%s", err.text);
    ck_assert(out.live_behind);
    open_other(NULL);
    ck_assert(!gx_room_has_record(&other, "g", 3));
    close_other();
    ck_assert_int_eq(gx_file_remove_tree(new_dir, &err), GX_OK);
    /* At ledger.path: the newer one stays there, an older one is in the way. */
    ck_assert_int_eq(gx_ledger_copy(live, fixed, &err), GX_OK);
    ck_assert_msg(restore(fixed, NULL, &out, &err) == GX_OK, "%s", err.text);
    ck_assert(out.has_live && !out.live_behind);
    open_other(fixed);
    close_other();
    ck_assert_int_eq(gx_file_remove_tree(new_dir, &err), GX_OK);
    ck_assert_int_eq(restore(older, NULL, &out, &err), GX_E_EXISTS);
    ck_assert_int_eq(unlink(fixed), 0);
    ck_assert_int_eq(restore(fixed, live, &out, &err), GX_OK); /* it is put there */
    ck_assert_int_eq(gx_ledger_compare(fixed, live, &relation, &err), GX_OK);
    ck_assert_int_eq(relation, GX_LEDGER_SAME);
    gx_room_open(&room);
    end();
}
END_TEST

START_TEST(ledgers_that_both_went_on_are_refused)
{
    struct gx_restore_out out;
    struct gx_err err;
    char kept[120];
    begin(20);
    gx_room_close(&room);
    ck_assert_msg(restore(NULL, live, &out, &err) == GX_OK, "%s", err.text);
    open_other(NULL);
    room.galleries = other.galleries; /* the restored one goes on ... */
    await_verified(&other, expunge_row(5));
    close_other();
    room.galleries = NULL;
    snprintf(kept, sizeof(kept), "%s/expunge.log", new_dir);
    gx_room_open(&room); /* ... and so does the old one */
    await_verified(&room, expunge_row(6));
    ck_assert_int_eq(gx_file_remove_tree(backup_dir, &err), GX_OK);
    ck_assert_int_eq(gx_room_backup(&room, backup_dir, 0, NULL, &err), GX_OK);
    char again[120];
    snprintf(again, sizeof(again), "%s/again", base);
    const struct gx_restore_in in = {.from = backup_dir, .data_dir = again, .live_ledger = kept};
    ck_assert_int_eq(gx_restore_run(&in, &out, &err), GX_E_STATE);
    ck_assert_ptr_nonnull(strstr(err.text, "both went on"));
    ck_assert_int_ne(access(again, F_OK), 0);
    end();
}
END_TEST

/* A ledger is copied while it is written to. */
static atomic_bool stop_appending;

static void *append(void *arg)
{
    (void)arg;
    for (uint64_t row = 0; row < 2000 && !atomic_load(&stop_appending); row++)
        (void)expunge_row(row);
    return NULL;
}

START_TEST(a_ledger_in_use_is_copied_whole)
{
    pthread_t thread;
    struct gx_err err;
    char copy[120];
    enum gx_ledger_relation relation;
    begin(50);
    snprintf(copy, sizeof(copy), "%s/copy", base);
    ck_assert_int_eq(pthread_create(&thread, NULL, append, NULL), 0);
    for (int i = 0; i < 200; i++) {
        (void)unlink(copy);
        ck_assert_msg(gx_ledger_copy(live, copy, &err) == GX_OK, "%s", err.text);
        ck_assert_msg(gx_ledger_compare(copy, copy, &relation, &err) == GX_OK, "%s", err.text);
        ck_assert_int_eq(relation, GX_LEDGER_SAME);
    }
    ck_assert_int_eq(gx_ledger_copy(live, copy, &err), GX_E_EXISTS);
    atomic_store(&stop_appending, true);
    pthread_join(thread, NULL);
    end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("restore");
    TCase *tc = tcase_create("restore");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, what_was_backed_up_is_there_again);
    tcase_add_test(tc, what_was_expunged_since_is_absent_and_erased_again_with_the_live_ledger);
    tcase_add_test(tc, backups_made_since_are_known_from_the_ledger);
    tcase_add_test(tc, a_flipped_byte_in_any_file_is_refused_by_its_name);
    tcase_add_test(tc, missing_longer_and_shorter_files_are_refused);
    tcase_add_test(tc, an_interrupted_backup_and_a_place_that_is_taken_are_refused);
    tcase_add_test(tc, a_ledger_that_is_in_use_or_of_another_directory_is_refused);
    tcase_add_test(tc, of_two_ledgers_the_one_that_knows_more_is_taken);
    tcase_add_test(tc, ledgers_that_both_went_on_are_refused);
    tcase_add_test(tc, a_ledger_in_use_is_copied_whole);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
