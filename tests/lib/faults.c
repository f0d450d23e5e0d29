#include "faults.h"

static atomic_long left;
static bool is_lasting;
static enum gx_status outcome;

static enum gx_status fail_nth(void *arg, uint64_t ordinal)
{
    (void)arg;
    (void)ordinal;
    long before = atomic_fetch_sub(&left, 1);
    return before == 1 || (before < 1 && is_lasting) ? outcome : GX_OK;
}

static void arm(long nth, bool lasting, enum gx_status status)
{
    is_lasting = lasting;
    outcome = status;
    atomic_store(&left, nth);
}

void gx_faults_begin(struct gx_room *room, enum gx_faults_of of, long nth, bool lasting, enum gx_status status)
{
    arm(nth, lasting, status);
    if ((of & GX_FAULTS_STORE) != 0)
        gx_store_set_fault(room->galleries->store, fail_nth, NULL);
    if ((of & GX_FAULTS_LEDGER) != 0)
        gx_ledger_set_fault(room->galleries->ledger, fail_nth, NULL);
}

void gx_faults_begin_at_open(long nth, bool lasting, enum gx_status status)
{
    arm(nth, lasting, status);
    gx_store_set_fault_at_open(fail_nth, NULL);
}

bool gx_faults_end(struct gx_room *room)
{
    gx_store_set_fault_at_open(NULL, NULL);
    if (room->galleries != NULL) {
        gx_store_set_fault(room->galleries->store, NULL, NULL);
        gx_ledger_set_fault(room->galleries->ledger, NULL, NULL);
    }
    return gx_faults_hit();
}

bool gx_faults_hit(void)
{
    return atomic_load(&left) < 1;
}
