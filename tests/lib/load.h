/* Load on a server that will be killed, and the account of what it acknowledged, kept outside of it.
 *
 * The account is shared memory: pending before each call, confirmed after its answer. The process that starts and kills
 * the server never uses libgrpc, which does not survive fork: it lets children do the load and the checks.
 *
 * The unit is a batch of GX_LOAD_RECORDS records, enrolled in one request; its two halves are an arrest each. Batch b
 * holds rows [b x GX_LOAD_RECORDS, …) of the people. */
#ifndef GX_LOAD_H
#define GX_LOAD_H

#include <stdatomic.h>

#include "chain.h"
#include "served.h"

#define GX_LOAD_RECORDS 4
#define GX_LOAD_HALF    (GX_LOAD_RECORDS / 2)
#define GX_LOAD_MAX     400000 /* batches */
#define GX_LOAD_TICKETS 100000
#define GX_LOAD_DIM     32
#define GX_LOAD_GALLERY "load"

enum { GX_LOAD_NONE, GX_LOAD_INSERTING, GX_LOAD_INSERTED };
enum { GX_LOAD_KEPT, GX_LOAD_EXPUNGING, GX_LOAD_EXPUNGED };

struct gx_load {
    atomic_uchar batches[GX_LOAD_MAX];
    atomic_uchar arrests[GX_LOAD_MAX][2];
    atomic_uint tickets[GX_LOAD_MAX][2];                     /* numbers; 0 = not known */
    atomic_uint_least64_t certificates[GX_LOAD_TICKETS + 1]; /* serial, of tickets seen VERIFIED; 0 = not seen */
    atomic_uint_least64_t n_batches;                         /* begun so far */
    atomic_uint_least64_t checked;    /* batches below this were all decided when they were last checked */
    atomic_uint_least64_t n_inserted; /* acknowledged, in all */
    atomic_uint_least64_t n_expunged; /* likewise, arrests */
    atomic_uint_least64_t n_searches;
    atomic_uint_least64_t n_verified; /* tickets seen VERIFIED */
};

/* In shared memory, for as long as the process lives. */
struct gx_load *gx_load_new(void);

/* Each runs in a child of its own; fails the test when the child fails. */
void gx_load_create(struct gx_served *served, const char *engine);
/* What the account says against what the server has: everything with @all, else what is new and a sample of the rest.
 * Settles what was pending. */
void gx_load_check(struct gx_load *load, struct gx_served *served, uint64_t seed, bool all);
/* Every ticket comes to its end: VERIFIED, their certificates one chain. */
void gx_load_check_tickets(struct gx_load *load, struct gx_served *served);

/* The server does not run: of what tickets that were seen VERIFIED have removed, no file below its data directory holds
 * an id or the beginning of a row. @all: of whatever was expunged. Needs no child. */
void gx_load_check_files(struct gx_load *load, const struct gx_served *served, bool all);

/* Begins the load: inserters, an expunger, a searcher, until the server is gone; returns the child. */
pid_t gx_load_begin(struct gx_load *load, struct gx_served *served, uint64_t seed);
/* Ends the child. */
void gx_load_end(pid_t child);

/* A repeatable random number; *@state is changed. */
uint64_t gx_load_random(uint64_t *state);

#endif
