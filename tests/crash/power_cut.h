/* What the preloaded power_cut.c and its test share. */
#ifndef POWER_CUT_H
#define POWER_CUT_H

#include <stdatomic.h>
#include <stdint.h>

#define POWER_CUT_FILES 8192

struct power_cut_table {
    atomic_uint_least64_t n_syncs;
    struct {
        atomic_uint_least64_t inode, synced; /* 0 = free; bytes */
    } files[POWER_CUT_FILES];
};

#endif
