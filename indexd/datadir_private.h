/* What the files of the data directory share, and nobody else includes. */
#ifndef GX_DATADIR_PRIVATE_H
#define GX_DATADIR_PRIVATE_H

#include <limits.h>
#include <pthread.h>

#include "datadir.h"

#define GX_DATADIR_OWN_MAX 8

struct gx_datadir {
    char path[PATH_MAX];           /* as given */
    char real[PATH_MAX];           /* without links */
    char *own[GX_DATADIR_OWN_MAX]; /* relative to it */
    size_t n_own;
    int fd;               /* the directory, locked */
    pthread_mutex_t lock; /* guards the ballast */
};

#endif
