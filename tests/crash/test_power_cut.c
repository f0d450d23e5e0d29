/* The power fails at random moments under load: every file keeps what was synced, and any part of the rest.
 *
 * The model: SIGKILL, then of what happened to the names in each directory since it was synced, a random number of last
 * steps is undone: removed files are back, replaced ones as well. Then each file is cut to a random length between what
 * was synced of it and what is there. It does not reorder blocks, and new names are not lost. */
#include "power_cut.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <fcntl.h>

#include "load.h"

#define ROUNDS      40
#define ROUNDS_LONG 300
#define SEED        20260118
#define LONG_EVERY  3 /* of so many rounds one goes on until another ticket is VERIFIED */

static struct gx_served served;
static struct power_cut_table *table;
static char library[100], preload[160], table_path[100], table_variable[160], graves[100], graves_variable[160];
static uint64_t random_state = SEED;
static unsigned n_torn, n_undone;

/* The library is built here, with the compiler that built this: it must never be linked to anything. */
static void build_library(void)
{
    char command[400];
    (void)snprintf(library, sizeof(library), "%s/power_cut.so", served.server.base);
    (void)snprintf(command, sizeof(command),
                   "${CC:-cc} -shared -fPIC -O1 -D_GNU_SOURCE -o %s tests/crash/power_cut.c -ldl", library);
    ck_assert_msg(system(command) == 0, "cannot build tests/crash/power_cut.c");
}

static uint64_t synced_of(uint64_t inode)
{
    uint64_t synced = 0; /* it may stand there twice */
    for (size_t i = 0; i < POWER_CUT_FILES; i++)
        if (atomic_load(&table->files[i].inode) == inode && atomic_load(&table->files[i].synced) > synced)
            synced = atomic_load(&table->files[i].synced);
    return synced;
}

/* RocksDB's own text log and lock hold nothing that is read again; what it writes once without syncing neither. */
static bool is_exempt(const char *name)
{
    return strncmp(name, "LOG", 3) == 0 || strcmp(name, "LOCK") == 0 || strcmp(name, "IDENTITY") == 0;
}

static int tear(const char *path, const struct stat *st, int type, struct FTW *at)
{
    if (type != FTW_F || is_exempt(path + at->base))
        return 0;
    uint64_t synced = synced_of((uint64_t)st->st_ino), size = (uint64_t)st->st_size;
    if (synced >= size)
        return 0;
    uint64_t left = synced + gx_load_random(&random_state) % (size - synced + 1);
    n_torn += left < size;
    return truncate(path, (off_t)left);
}

/* ---------------------------------------------------------------- names */

static void undo(unsigned n)
{
    struct power_cut_name *name = &table->names[n];
    char grave[160];
    (void)snprintf(grave, sizeof(grave), "%s/%u", graves, n);
    if (name->from[0] != '\0')
        (void)rename(name->path, name->from); /* fails where that name is gone by now: then it was not the last step */
    if (name->had && link(grave, name->path) == 0)
        n_undone++;
}

/* Of each directory a random number of last steps. */
static void undo_names(void)
{
    unsigned n = atomic_load(&table->n_names);
    for (unsigned first = 0; first < n; first++) {
        uint64_t directory = table->names[first].directory;
        unsigned open = 0;
        for (unsigned i = first; i < n; i++)
            open += table->names[i].directory == directory && atomic_load(&table->names[i].state) == POWER_CUT_OPEN;
        unsigned left = (unsigned)(gx_load_random(&random_state) % (open + 1));
        for (unsigned i = n; i-- > first;) {
            struct power_cut_name *name = &table->names[i];
            if (name->directory != directory)
                continue;
            if (atomic_load(&name->state) == POWER_CUT_OPEN && left > 0) {
                undo(i);
                left--;
            }
            atomic_store(&name->state, POWER_CUT_FREE);
        }
    }
}

static int forget_grave(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)at;
    return type == FTW_F ? unlink(path) : 0;
}

/* ---------------------------------------------------------------- contents */

/* What is left is on the disk from now on, and files that are gone leave their inodes to others. */
static int settle(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)path;
    (void)at;
    if (type == FTW_F)
        for (size_t i = 0; i < POWER_CUT_FILES; i++)
            if (atomic_load(&table->files[i].inode) == 0) {
                atomic_store(&table->files[i].inode, (uint64_t)st->st_ino);
                atomic_store(&table->files[i].synced, (uint64_t)st->st_size);
                return 0;
            }
    return type != FTW_F ? 0 : -1;
}

static void make_table(void)
{
    (void)snprintf(table_path, sizeof(table_path), "%s/synced", served.server.base);
    int fd = open(table_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(ftruncate(fd, sizeof(*table)), 0);
    table = mmap(NULL, sizeof(*table), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ck_assert_ptr_ne(table, MAP_FAILED);
    ck_assert_int_eq(close(fd), 0);
    (void)snprintf(preload, sizeof(preload), "LD_PRELOAD=%s", library);
    (void)snprintf(table_variable, sizeof(table_variable), "GX_POWER_CUT=%s", table_path);
    served.server.environment[0] = preload;
    served.server.environment[1] = table_variable;
    (void)snprintf(graves, sizeof(graves), "%s/graves", served.server.base);
    ck_assert_int_eq(mkdir(graves, 0700), 0);
    (void)snprintf(graves_variable, sizeof(graves_variable), "GX_POWER_CUT_GRAVES=%s", graves);
    served.server.environment[2] = graves_variable;
    ck_assert_int_eq(nftw(served.server.data, settle, 16, FTW_PHYS), 0); /* what init made */
}

static void cut_power(void)
{
    undo_names();
    ck_assert_int_eq(nftw(graves, forget_grave, 16, FTW_PHYS), 0);
    memset((void *)table->names, 0, sizeof(table->names));
    atomic_store(&table->n_names, 0);
    ck_assert_int_eq(nftw(served.server.data, tear, 16, FTW_PHYS), 0);
    memset((void *)table->files, 0, sizeof(table->files));
    ck_assert_int_eq(nftw(served.server.data, settle, 16, FTW_PHYS), 0);
}

START_TEST(whatever_was_acknowledged_outlives_a_power_cut_at_any_moment)
{
    struct gx_load *load = gx_load_new();
    int rounds = getenv("INDEXD_TEST_LONG") == NULL ? ROUNDS : ROUNDS_LONG;
    ck_assert(gx_people_init(&served.people, GX_SERVED_SEED, GX_LOAD_DIM, GX_SERVED_ROWS));
    gx_server_begin(&served.server);
    (void)strcpy(served.server.settings, GX_SERVED_NO_BALLAST);
    build_library();
    make_table();
    gx_server_start(&served.server);
    gx_load_create(&served, gx_served_flat_only() ? "flat" : "faiss:IVF16,SQ8");
    for (int round = 0; round < rounds; round++) {
        uint64_t ms = 30 + gx_load_random(&random_state) % 370;
        pid_t child = gx_load_begin(load, &served, random_state);
        uint64_t verified = atomic_load(&load->n_verified);
        for (int i = 0; round % LONG_EVERY == 0 && i < 30000 && atomic_load(&load->n_verified) == verified; i++)
            gx_served_breathe();
        (void)nanosleep(&(struct timespec){.tv_nsec = (long)ms * 1000000}, NULL);
        gx_server_kill(&served.server);
        gx_load_end(child);
        cut_power();
        gx_load_check_files(load, &served, false);
        gx_server_start(&served.server);
        gx_load_check(load, &served, random_state, round + 1 == rounds);
    }
    gx_load_check_tickets(load, &served);
    printf("%d rounds: %llu batches and %llu expungements acknowledged, %llu seen VERIFIED, %u files torn, %u names "
           "back, %llu syncs\n",
           rounds, (unsigned long long)atomic_load(&load->n_inserted),
           (unsigned long long)atomic_load(&load->n_expunged), (unsigned long long)atomic_load(&load->n_verified),
           n_torn, n_undone, (unsigned long long)atomic_load(&table->n_syncs));
    /* The model has teeth: files were cut, and what was acknowledged had been synced before. */
    ck_assert_uint_gt(n_torn, 0);
    ck_assert_uint_gt(n_undone, 0);
    ck_assert_uint_gt(atomic_load(&load->n_verified), (uint64_t)rounds / LONG_EVERY);
    ck_assert_uint_gt(atomic_load(&table->n_syncs), atomic_load(&load->n_expunged));
    ck_assert_uint_gt(atomic_load(&load->n_inserted), (uint64_t)rounds);
    gx_served_end(&served);
}
END_TEST

int main(void)
{
    const struct gx_served_test tests[] = {{whatever_was_acknowledged_outlives_a_power_cut_at_any_moment, 0}};
    return gx_served_run("power cut", tests, 1);
}
