/* The server's configuration: an INI file (https://en.wikipedia.org/wiki/INI_file), every key with default, bounds and
 * meaning in one table. */
#ifndef GX_CONFIG_H
#define GX_CONFIG_H

#include <stdio.h>

#include "err.h"

#define GX_CONFIG_TEXT_MAX 256

/* X(section, name, kind, default, min, max, unit, meaning). Kinds: TEXT, COUNT, REAL. */
#define GX_CONFIG_MAP(X)                                                                                               \
    X(server, listen, TEXT, "127.0.0.1:7600", 1, 255, "address",                                                       \
      "HOST:PORT on loopback (port 0: any free one), or unix:/path")                                                   \
    X(server, workers, COUNT, 0, 0, 1024, "threads", "threads that search; 0: one per core")                           \
    X(server, io_threads, COUNT, 0, 0, 8, "threads", "threads that read the network; 0: one per 16 cores, 1 to 4")     \
    X(server, queue, COUNT, 1024, 1, 1000000, "requests", "searches that may wait, and other requests; more: BUSY")    \
    X(server, connections, COUNT, 4096, 1, 100000, "connections", "open connections; more are closed at once")         \
    X(server, streams, COUNT, 1024, 1, 100000, "calls", "calls at a time on one connection")                           \
    X(server, call_memory, COUNT, 64, 1, 4096, "MiB", "memory that one call may use")                                  \
    X(server, grace, COUNT, 10, 0, 3600, "seconds", "how long running calls may take when the server stops")           \
    X(store, cache, COUNT, 64, 8, 1048576, "MiB", "block cache of the store")                                          \
    X(store, rate_limit, COUNT, 200, 0, 1048576, "MiB/s", "bound of background writes to the store; 0: none")          \
    X(store, write_queue, COUNT, 4096, 1, 1000000, "requests", "writes that may wait for the disk; more: BUSY")        \
    X(store, ballast, COUNT, 128, 0, 65536, "MiB",                                                                     \
      "room kept so that a full disk does not stop an expungement; 0: none")                                           \
    X(store, min_free, REAL, 5, 0, 50, "percent",                                                                      \
      "of the disk (10 GiB at most): enrolment is refused when less is free; 0: never")                                \
    X(ledger, path, TEXT, "", 0, 255, "path", "the outer ledger; empty: expunge.log in the data directory")            \
    X(ledger, mirror, TEXT, "", 0, 255, "path", "a second copy of the ledger, on another disk; empty: none")           \
    X(erase, deadline, COUNT, 60, 1, 31536000, "seconds",                                                              \
      "from the acknowledgement of an expungement to VERIFIED; past it health says so")                                \
    X(erase, scan_all, COUNT, 4096, 1, 1048576, "MiB",                                                                 \
      "rows up to which the proof reads every file; with more, tables that cannot hold what was erased are left out")  \
    X(rows, float, TEXT, "ram", 1, 8, "ram or file",                                                                   \
      "where the float rows of galleries are: in memory, or in files of the data directory when they are larger")      \
    X(index, hnsw_from, COUNT, 2000000, 1, 4000000000, "rows",                                                         \
      "rows from which the engine 'auto' is hnsw, below it is scan")                                                   \
    X(index, tail_max, COUNT, 500000, 1000, 100000000, "rows",                                                         \
      "rows that an index may be behind before enrolment answers BUSY")                                                \
    X(index, rebuild_dead, REAL, 0.1, 0.001, 1, "fraction",                                                            \
      "dead entries at which an index that cannot remove is rebuilt")                                                  \
    X(index, rebuild_after, COUNT, 30, 1, 31536000, "seconds",                                                         \
      "... or so long after a removal, at most (sooner where a build is cheap, or the erasure is due)")                \
    X(log, level, COUNT, 2, 0, 3, "level", "0 errors, 1 warnings, 2 information, 3 debugging")

#define GX_CONFIG_TYPE_TEXT  char
#define GX_CONFIG_TYPE_COUNT uint64_t
#define GX_CONFIG_TYPE_REAL  double
#define GX_CONFIG_SIZE_TEXT  [GX_CONFIG_TEXT_MAX]
#define GX_CONFIG_SIZE_COUNT
#define GX_CONFIG_SIZE_REAL
#define GX_CONFIG_FIELD(section, name, kind, ...) GX_CONFIG_TYPE_##kind section##_##name GX_CONFIG_SIZE_##kind;
struct gx_config {
    GX_CONFIG_MAP(GX_CONFIG_FIELD)
};

/* All defaults. */
void gx_config_init(struct gx_config *config);

/* Reads @path over what @config holds. GX_E_NOT_FOUND, GX_E_INVALID: names line, key and bounds; an unknown section or
 * key, and a key given twice, are errors. */
GX_MUST enum gx_status gx_config_read(struct gx_config *config, const char *path, struct gx_err *err);

/* Sets one key as the file would. */
GX_MUST enum gx_status gx_config_set(struct gx_config *config, const char *section, const char *name, const char *value,
                                     struct gx_err *err);

/* Writes a complete file with the defaults, each key with its meaning and bounds. */
void gx_config_print_reference(FILE *out);

#endif
