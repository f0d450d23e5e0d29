/* The certificates that a server has issued, kept outside of it over crashes and restores. Asserts with Check. */
#ifndef GX_CHAIN_H
#define GX_CHAIN_H

#include "served.h"

struct gx_chain {
    struct gx_chain_link *links; /* [n], by serial */
    size_t n, capacity;
};

/* Fetches those of all tickets that are VERIFIED, and checks each: its signature by the key in the data directory, and
 * what it states against the ticket. Fails when one has the serial of another that was fetched before. */
void gx_chain_collect(struct gx_chain *chain, struct gx_served *served);

/* Fails unless they are numbered 1, 2, … up to @n without a hole, each naming the one before. */
void gx_chain_check(const struct gx_chain *chain, size_t n);

void gx_chain_free(struct gx_chain *chain);

#endif
