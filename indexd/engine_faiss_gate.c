#include "engine_faiss_gate.h"

void gx_engine_faiss_gate_init(struct gx_faiss_gate *gate)
{
    *gate = (struct gx_faiss_gate){0};
    pthread_mutex_init(&gate->lock, NULL);
    pthread_cond_init(&gate->changed, NULL);
}

void gx_engine_faiss_gate_fini(struct gx_faiss_gate *gate)
{
    pthread_mutex_destroy(&gate->lock);
    pthread_cond_destroy(&gate->changed);
}

enum gx_status gx_engine_faiss_gate_enter(struct gx_faiss_gate *gate, uint32_t knob, gx_faiss_gate_set *set, void *arg,
                                          struct gx_err *err)
{
    enum gx_status status = GX_OK;
    pthread_mutex_lock(&gate->lock);
    uint64_t ticket = gate->next++;
    while (gate->serving != ticket || (gate->active > 0 && gate->knob != knob))
        pthread_cond_wait(&gate->changed, &gate->lock);
    if (gate->knob != knob) {
        status = set(arg, knob, err);
        gate->knob = status == GX_OK ? knob : 0;
    }
    if (status == GX_OK)
        gate->active++;
    gate->serving++;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->lock);
    return status;
}

void gx_engine_faiss_gate_leave(struct gx_faiss_gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    if (--gate->active == 0)
        pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->lock);
}

void gx_engine_faiss_gate_forget(struct gx_faiss_gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    gate->knob = 0;
    pthread_mutex_unlock(&gate->lock);
}
