/* Turns at an index whose effort is a field of the index: callers that want the same value search together, callers
 * that want different ones take turns, in the order they came. For engine_faiss.c only. */
#ifndef GX_ENGINE_FAISS_GATE_H
#define GX_ENGINE_FAISS_GATE_H

#include <pthread.h>

#include "err.h"

struct gx_faiss_gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t next, serving; /* tickets */
    uint32_t active, knob;  /* callers inside; what the index is set to, 0 = unknown */
};

void gx_engine_faiss_gate_init(struct gx_faiss_gate *gate);
void gx_engine_faiss_gate_fini(struct gx_faiss_gate *gate);

/* Waits until @knob (not 0) is what the index is set to; calls @set, with nobody inside, if that takes a change.
 * After GX_OK gate_leave must follow; otherwise the error is @set's. Any thread; blocks for the searches before it. */
typedef enum gx_status gx_faiss_gate_set(void *arg, uint32_t knob, struct gx_err *err);
GX_MUST enum gx_status gx_engine_faiss_gate_enter(struct gx_faiss_gate *gate, uint32_t knob, gx_faiss_gate_set *set,
                                                  void *arg, struct gx_err *err);
void gx_engine_faiss_gate_leave(struct gx_faiss_gate *gate);

/* The index was set by somebody else: the next caller sets it anew. Nobody may be inside. */
void gx_engine_faiss_gate_forget(struct gx_faiss_gate *gate);

#endif
