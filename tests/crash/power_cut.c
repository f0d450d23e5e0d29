/* Preloaded into the server: remembers for every file how much of it was synced, and for every name that was removed or
 * replaced whether its directory was synced since.
 *
 * Wraps fsync, fdatasync and sync_file_range-free paths alike: the size before the real call counts, once that has
 * succeeded. Wraps unlink and rename: what a name led to gets another name among the graves first. The table is a file
 * that GX_POWER_CUT names, shared with the test; power_cut.h says what is in it. GX_POWER_CUT_GRAVES is the folder. */
#include "power_cut.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static struct power_cut_table *table;
static const char *graves;

__attribute__((constructor)) static void open_table(void)
{
    const char *path = getenv("GX_POWER_CUT");
    int fd = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        _exit(124); /* a run without the table would prove nothing */
    table = mmap(NULL, sizeof(*table), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (table == MAP_FAILED)
        _exit(124);
    (void)close(fd);
    graves = getenv("GX_POWER_CUT_GRAVES");
    if (graves == NULL)
        _exit(124);
}

static void remember(uint64_t inode, uint64_t size)
{
    uint64_t slot = inode * UINT64_C(0x9e3779b97f4a7c15) % POWER_CUT_FILES;
    for (uint64_t i = 0; i < POWER_CUT_FILES; i++, slot = (slot + 1) % POWER_CUT_FILES) {
        uint64_t none = 0;
        if (!atomic_compare_exchange_strong(&table->files[slot].inode, &none, inode) && none != inode)
            continue;
        uint64_t before = atomic_load(&table->files[slot].synced);
        while (before < size && !atomic_compare_exchange_weak(&table->files[slot].synced, &before, size))
            continue;
        return;
    }
    _exit(125);
}

/* ---------------------------------------------------------------- names */

static void grave_of(unsigned n, char out[300])
{
    (void)snprintf(out, 300, "%.280s/%u", graves, n);
}

/* Takes down that @path is about to lead nowhere, or to what @from leads to; NULL: it is none of ours. */
static struct power_cut_name *begin_name(const char *path, const char *from)
{
    char directory[POWER_CUT_PATH], grave[300];
    struct stat st;
    if (path[0] != '/' || strlen(path) >= POWER_CUT_PATH || (from != NULL && strlen(from) >= POWER_CUT_PATH))
        return NULL;
    strcpy(directory, path);
    *strrchr(directory, '/') = '\0';
    if (stat(directory, &st) != 0)
        return NULL;
    unsigned n = atomic_fetch_add(&table->n_names, 1);
    if (n >= POWER_CUT_NAMES)
        _exit(126);
    struct power_cut_name *name = &table->names[n];
    name->directory = (uint64_t)st.st_ino;
    strcpy(name->path, path);
    strcpy(name->from, from == NULL ? "" : from);
    grave_of(n, grave);
    name->had = link(path, grave) == 0;
    atomic_store(&name->state, POWER_CUT_BEGUN);
    return name;
}

static void end_name(struct power_cut_name *name, int result)
{
    if (name != NULL)
        atomic_store(&name->state, result == 0 ? POWER_CUT_OPEN : POWER_CUT_FREE);
}

typedef int unlink_call(const char *path);
typedef int rename_call(const char *from, const char *to);

static int really_unlink(const char *path)
{
    return ((unlink_call *)(uintptr_t)dlsym(RTLD_NEXT, "unlink"))(path);
}

int unlink(const char *path)
{
    struct power_cut_name *name = begin_name(path, NULL);
    int result = really_unlink(path);
    end_name(name, result);
    return result;
}

int rename(const char *from, const char *to)
{
    struct power_cut_name *name = begin_name(to, from);
    int result = ((rename_call *)(uintptr_t)dlsym(RTLD_NEXT, "rename"))(from, to);
    end_name(name, result);
    return result;
}

/* The directory was synced: what happened to its names before is so for good. */
static void close_names(uint64_t directory, unsigned n)
{
    char grave[300];
    for (unsigned i = 0; i < n; i++) {
        struct power_cut_name *name = &table->names[i];
        unsigned open = POWER_CUT_OPEN;
        if (name->directory != directory || !atomic_compare_exchange_strong(&name->state, &open, POWER_CUT_DURABLE))
            continue;
        grave_of(i, grave);
        if (name->had)
            (void)really_unlink(grave);
    }
}

/* ---------------------------------------------------------------- contents */

typedef int sync_call(int fd);

static int sync_and_remember(int fd, const char *name)
{
    sync_call *next = (sync_call *)(uintptr_t)dlsym(RTLD_NEXT, name);
    struct stat st;
    int known = fstat(fd, &st);
    unsigned n_names = atomic_load(&table->n_names);
    int result = next(fd);
    if (result == 0 && known == 0 && S_ISDIR(st.st_mode))
        close_names((uint64_t)st.st_ino, n_names);
    if (result == 0 && known == 0 && S_ISREG(st.st_mode)) {
        remember((uint64_t)st.st_ino, (uint64_t)st.st_size);
        atomic_fetch_add(&table->n_syncs, 1);
    }
    return result;
}

int fsync(int fd)
{
    return sync_and_remember(fd, "fsync");
}

int fdatasync(int fd)
{
    return sync_and_remember(fd, "fdatasync");
}
