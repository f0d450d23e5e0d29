/* Room on the disk: expungements come before everything else.
 *
 * The path: enrolment is refused while there is little room (store.min_free) -> an expungement that meets a full disk
 * all the same gives the ballast up and is tried again -> the keeper makes the ballast again once there is room for it
 * twice.
 *
 * What can go wrong: the disk fills up again before the expungement is written: the ballast is gone then, and the
 * expungement fails or, once it is in the ledger, is tried again every second. It is said in the log. */
#include <inttypes.h>

#include "gallery_private.h"
#include "log.h"

#define MIB           ((uint64_t)1 << 20)
#define MIN_FREE_MOST ((uint64_t)10 << 30) /* of a large disk, so much free is enough for anybody */
#define ROOM_TO_OPEN  (32 * MIB)           /* less: opening the store and replaying the ledger may fail */
#define ROOM_TO_RETRY (2 * MIB)            /* less: the next attempt would fail as well */

bool gx_galleries_release_ballast(struct gx_galleries *galleries)
{
    uint64_t freed;
    struct gx_err err;
    if (gx_datadir_release_ballast(galleries->datadir, &freed, &err) != GX_OK)
        gx_log_error("ballast_not_released", "reason=\"%s\"", err.text);
    if (freed > 0)
        gx_log_warn("ballast_released", "bytes=%" PRIu64 " advice=\"the disk is full: make room\"", freed);
    return freed > 0;
}

void gx_galleries_spare_room(struct gx_galleries *galleries)
{
    uint64_t room, total;
    struct gx_err err;
    if (gx_datadir_room(galleries->datadir, &room, &total, &err) == GX_OK && room < ROOM_TO_OPEN)
        gx_galleries_release_ballast(galleries);
}

void gx_galleries_renew_ballast(struct gx_galleries *galleries)
{
    struct gx_err err;
    bool made;
    uint64_t bytes = galleries->options.ballast_bytes, before = gx_datadir_ballast(galleries->datadir);
    if (gx_datadir_make_ballast(galleries->datadir, bytes, &made, &err) != GX_OK) {
        gx_log_warn("ballast_not_made", "reason=\"%s\"", err.text);
        return;
    }
    if (made && before != bytes)
        gx_log_info("ballast_made", "bytes=%" PRIu64, bytes);
    if (!made && bytes > 0 && !galleries->lacks_ballast)
        gx_log_warn("no_ballast", "bytes=%" PRIu64 " advice=\"there is not room for it twice: make room\"", bytes);
    galleries->lacks_ballast = !made;
}

bool gx_galleries_make_room(struct gx_galleries *galleries)
{
    uint64_t room, total;
    struct gx_err err;
    if (gx_galleries_release_ballast(galleries))
        return true;
    return gx_datadir_room(galleries->datadir, &room, &total, &err) == GX_OK && room >= ROOM_TO_RETRY;
}

enum gx_status gx_galleries_check_room(struct gx_galleries *galleries, struct gx_err *err)
{
    uint64_t room, total;
    double percent = galleries->options.min_free;
    if (percent <= 0)
        return GX_OK;
    GX_TRY(gx_datadir_room(galleries->datadir, &room, &total, err));
    uint64_t wanted = (uint64_t)((double)total / 100 * percent);
    wanted = GX_MIN(wanted, MIN_FREE_MOST);
    if (room >= wanted)
        return GX_OK;
    return gx_fail(err, GX_E_FULL,
                   "the disk has %" PRIu64 " MiB free, enrolment needs %" PRIu64
                   " (store.min_free): make room; searches and expungements go on",
                   room / MIB, wanted / MIB + 1);
}
