/* The files of the store as the directory has them: what RocksDB believes to have removed may be there still. */
#include "store_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static enum gx_status add_number(struct gx_store_numbers *numbers, uint64_t number, struct gx_err *err)
{
    if (numbers->n == numbers->capacity) {
        size_t capacity = GX_MAX(2 * numbers->capacity, (size_t)64);
        uint64_t *all = realloc(numbers->all, capacity * sizeof(*all));
        if (all == NULL)
            return gx_fail(err, GX_E_NOMEM, "no memory to list the files of the store");
        numbers->all = all;
        numbers->capacity = capacity;
    }
    numbers->all[numbers->n++] = number;
    return GX_OK;
}

static int compare_numbers(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

bool gx_store_files_has(const struct gx_store_numbers *numbers, uint64_t number)
{
    return numbers->n > 0 && bsearch(&number, numbers->all, numbers->n, sizeof(number), compare_numbers) != NULL;
}

void gx_store_files_fini(struct gx_store_files *files)
{
    free(files->tables.all);
    free(files->logs.all);
    *files = (struct gx_store_files){0};
}

static enum gx_status note_file(int fd, const char *name, struct gx_store_files *files, struct gx_err *err)
{
    char *suffix;
    struct stat info;
    if (*name < '0' || *name > '9')
        return GX_OK;
    uint64_t number = strtoull(name, &suffix, 10);
    if (strcmp(suffix, ".sst") == 0)
        return add_number(&files->tables, number, err);
    if (strcmp(suffix, ".log") != 0)
        return GX_OK;
    if (fstatat(fd, name, &info, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? GX_OK : gx_err_errno(err, errno, "cannot look at a file of the store");
    return info.st_size == 0 ? GX_OK : add_number(&files->logs, number, err);
}

enum gx_status gx_store_files_init(struct gx_store_files *files, const struct gx_store *store, struct gx_err *err)
{
    *files = (struct gx_store_files){0};
    int fd = openat(store->lock, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    if (stream == NULL) {
        enum gx_status status = gx_err_errno(err, errno, "cannot list the files of the store");
        if (fd >= 0)
            close(fd);
        return status;
    }
    enum gx_status status = GX_OK;
    errno = 0;
    for (struct dirent *entry; status == GX_OK && (entry = readdir(stream)) != NULL; errno = 0)
        status = note_file(store->lock, entry->d_name, files, err);
    if (status == GX_OK && errno != 0)
        status = gx_err_errno(err, errno, "cannot list the files of the store");
    closedir(stream);
    if (status != GX_OK) {
        gx_store_files_fini(files);
        return status;
    }
    if (files->tables.n > 0)
        qsort(files->tables.all, files->tables.n, sizeof(uint64_t), compare_numbers);
    if (files->logs.n > 0)
        qsort(files->logs.all, files->logs.n, sizeof(uint64_t), compare_numbers);
    return GX_OK;
}
