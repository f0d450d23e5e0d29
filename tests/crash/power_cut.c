/* Preloaded into the server: remembers for every file how much of it was synced.
 *
 * Wraps fsync, fdatasync and sync_file_range-free paths alike: the size before the real call counts, once that has
 * succeeded. The table is a file that GX_POWER_CUT names, shared with the test; power_cut.h says what is in it. */
#include "power_cut.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static struct power_cut_table *table;

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

typedef int sync_call(int fd);

static int sync_and_remember(int fd, const char *name)
{
    sync_call *next = (sync_call *)(uintptr_t)dlsym(RTLD_NEXT, name);
    struct stat st;
    int known = fstat(fd, &st);
    int result = next(fd);
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
