/* Opening a data directory: what stands in its way is named, once. */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "room.h"
#include "suite.h"

static struct gx_room room;

/* Opening must fail with one line that names @path (below the data directory) once. */
static void assert_refused(enum gx_status expected, const char *path)
{
    struct gx_galleries *galleries;
    struct gx_err err;
    char full[256];
    snprintf(full, sizeof(full), "'%s%s'", room.dir, path);
    ck_assert_int_eq(gx_galleries_open(&room.options, &galleries, &err), expected);
    const char *first = strstr(err.text, full);
    ck_assert_msg(first != NULL && strstr(first + strlen(full), room.dir) == NULL, "%s is not named once: %s", full,
                  err.text);
    ck_assert_ptr_null(strchr(err.text, '\n'));
}

static void path_of(const char *name, char out[256])
{
    snprintf(out, 256, "%s/%s", room.dir, name);
}

START_TEST(store_that_is_in_use_missing_or_damaged_is_named_once)
{
    char current[256], aside[256], store[256];
    struct gx_err err;
    gx_room_begin(&room);
    assert_refused(GX_E_IN_USE, "");
    gx_room_close(&room);
    path_of("store/CURRENT", current);
    snprintf(aside, sizeof(aside), "%s-aside", room.dir); /* beside the data directory, not in it */
    path_of("store", store);
    ck_assert_int_eq(rename(current, aside), 0);
    assert_refused(GX_E_CORRUPT, "/store");
    int fd = open(current, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    ck_assert_int_eq(write(fd, "MANIFEST-999999\n", 16), 16);
    ck_assert_int_eq(close(fd), 0);
    assert_refused(GX_E_CORRUPT, "/store");
    ck_assert_int_eq(rename(aside, current), 0);
    ck_assert_int_eq(rename(store, aside), 0);
    assert_refused(GX_E_NOT_FOUND, "/store");
    ck_assert_int_eq(rename(aside, store), 0);
    ck_assert_msg(gx_galleries_open(&room.options, &room.galleries, &err) == GX_OK, "%s", err.text);
    gx_room_end(&room);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("galleries");
    TCase *tc = tcase_create("galleries");
    tcase_add_test(tc, store_that_is_in_use_missing_or_damaged_is_named_once);
    suite_add_tcase(suite, tc);
    return gx_suite_run(suite);
}
