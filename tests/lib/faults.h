/* Writes that fail on purpose, the Nth of the store's and the outer ledger's. One test at a time. */
#ifndef GX_FAULTS_H
#define GX_FAULTS_H

#include "room.h"

enum gx_faults_of { GX_FAULTS_STORE = 1, GX_FAULTS_LEDGER = 2, GX_FAULTS_BOTH = 3 };

/* From now on the @nth write of the room fails, untried; with @lasting every one after it, too, until end. */
void gx_faults_begin(struct gx_room *room, enum gx_faults_of of, long nth, bool lasting, enum gx_status status);
/* The same for the store that is opened next, before its first write. */
void gx_faults_begin_at_open(long nth, bool lasting, enum gx_status status);
/* Writes work again, also after the room was closed. True: one failed. */
bool gx_faults_end(struct gx_room *room);

/* Has one failed so far? */
bool gx_faults_hit(void);

#endif
