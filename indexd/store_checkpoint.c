/* A consistent copy of the store, of hard links. It stands apart from erasures: the one would keep the files that the
 * other must see go. */
#include "store_private.h"

#include "file.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

/* Looks before RocksDB does, which would copy across file systems; gives the folder that @dir will lie in. */
static enum gx_status look(const struct gx_store *store, const char *dir, char parent[PATH_MAX], struct gx_err *err)
{
    struct stat info, ours;
    if (strlen(dir) >= PATH_MAX)
        return gx_fail(err, GX_E_INVALID, "the path of a copy of the store is too long");
    if (lstat(dir, &info) == 0)
        return gx_fail(err, GX_E_EXISTS, "'%s' exists: a copy of the store needs a new folder", dir);
    strcpy(parent, dir);
    const char *folder = dirname(parent); /* in @parent, or a constant */
    memmove(parent, folder, strlen(folder) + 1);
    if (stat(parent, &info) != 0)
        return gx_err_errno(err, errno, "copy the store to '%s'", dir);
    if (fstat(store->lock, &ours) != 0)
        return gx_err_errno(err, errno, "copy the store");
    if (info.st_dev != ours.st_dev)
        return gx_fail(err, GX_E_INVALID, "'%s' is on another file system than the store: choose one on the same", dir);
    return GX_OK;
}

static enum gx_status make(struct gx_store *store, const char *dir, struct gx_err *err)
{
    static const char doing[] = "cannot copy the store";
    GX_TRY(gx_store_may_write(store, err));
    char *error = NULL;
    rocksdb_checkpoint_t *checkpoint = rocksdb_checkpoint_object_create(store->db, &error);
    if (error != NULL)
        return gx_store_take_error(store->dir, error, doing, err);
    rocksdb_checkpoint_create(checkpoint, dir, 0, &error); /* 0: flushes, so that no log has to be copied */
    rocksdb_checkpoint_object_destroy(checkpoint);
    return error == NULL ? GX_OK : gx_store_take_error(store->dir, error, doing, err);
}

enum gx_status gx_store_checkpoint(struct gx_store *store, const char *dir, struct gx_err *err)
{
    char parent[PATH_MAX];
    GX_TRY(look(store, dir, parent, err));
    pthread_mutex_lock(&store->slow);
    enum gx_status status = make(store, dir, err);
    pthread_mutex_unlock(&store->slow);
    if (status == GX_OK)
        status = gx_file_sync_dir(parent, err);
    return status;
}
