/* What the preloaded power_cut.c and its test share. */
#ifndef POWER_CUT_H
#define POWER_CUT_H

#include <stdatomic.h>
#include <stdint.h>

#define POWER_CUT_FILES 8192
#define POWER_CUT_NAMES 16384
#define POWER_CUT_PATH  200

enum { POWER_CUT_FREE, POWER_CUT_BEGUN, POWER_CUT_OPEN, POWER_CUT_DURABLE };

/* A name that was removed, or replaced by another file's (from). What it led to is kept beside the data directory, as
 * "N" in the folder of graves, until the directory is synced. */
struct power_cut_name {
    atomic_uint state;
    uint64_t directory; /* inode */
    char path[POWER_CUT_PATH], from[POWER_CUT_PATH];
    _Bool had; /* there is a grave */
};

struct power_cut_table {
    atomic_uint_least64_t n_syncs;
    struct {
        atomic_uint_least64_t inode, synced; /* 0 = free; bytes */
    } files[POWER_CUT_FILES];
    atomic_uint n_names;
    struct power_cut_name names[POWER_CUT_NAMES]; /* in their order */
};

#endif
