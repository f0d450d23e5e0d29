#include "engine_hnsw_part.h"

#include <math.h>

#include "simd.h"

#define VALUES_MIN   256  /* of a code that is worth reading in two parts */
#define VERTICES_MIN 1000 /* of a graph that says something */
#define SAMPLE       400  /* vertices, of which all links are looked at */
#define SLOPE_MIN    0.3  /* with less the first part says too little, and a very near row could be missed */
#define ROUNDING     1e-4
#define DEVIATIONS   2.2 /* 1 to 2 of 100 that score just above the bar are missed, and few that score well above it */

void gx_engine_hnsw_part_init(struct gx_hnsw_graph *graph)
{
    size_t n = graph->codes->int8_n;
    if (n >= VALUES_MIN)
        graph->part.n = n / 2 / GX_SIMD_INT8_STEP * GX_SIMD_INT8_STEP;
    atomic_init(&graph->part.slope, 0.0f);
    atomic_init(&graph->part.offset, -INFINITY);
}

/* Sums for a straight line y = slope * x + offset. */
struct fit {
    double n, x, y, xx, xy, yy;
};

static void look_at(const struct gx_hnsw_graph *graph, uint32_t slot, struct fit *fit)
{
    const struct gx_codes *codes = graph->codes;
    uint32_t links[GX_HNSW_M0];
    size_t n = gx_hnsw_read_links(gx_hnsw_links(graph, slot, 0), GX_HNSW_M0, links);
    for (size_t i = 0; i < n; i++) {
        const int8_t *a = gx_codes_int8(codes, slot), *b = gx_codes_int8(codes, links[i]);
        double scale = (double)gx_codes_scale(codes, slot) * (double)gx_codes_scale(codes, links[i]);
        double y = scale * gx_simd_int8_dot(a, b, graph->part.n), x = scale * gx_simd_int8_dot(a, b, codes->int8_n);
        fit->n++;
        fit->x += x;
        fit->y += y;
        fit->xx += x * x;
        fit->xy += x * y;
        fit->yy += y * y;
    }
}

void gx_engine_hnsw_part_measure(struct gx_hnsw_graph *graph, bool now)
{
    uint64_t vertices = atomic_load_explicit(&graph->n_vertices, memory_order_relaxed), seen = 0;
    uint32_t reserved = atomic_load_explicit(&graph->reserved, memory_order_relaxed);
    struct fit fit = {0};
    if (graph->part.n == 0 || vertices < VERTICES_MIN || (!now && vertices < 2 * graph->part.n_vertices))
        return;
    uint64_t step = vertices / SAMPLE;
    for (uint32_t slot = 0; slot < reserved; slot++)
        if (gx_hnsw_levels(graph, slot) > 0 && seen++ % step == 0)
            look_at(graph, slot, &fit);
    double mean_x = fit.x / fit.n, mean_y = fit.y / fit.n;
    double xx = fit.xx / fit.n - mean_x * mean_x, xy = fit.xy / fit.n - mean_x * mean_y;
    double yy = fit.yy / fit.n - mean_y * mean_y;
    if (!(fit.n > SAMPLE && xx > 0))
        return;
    double slope = xy / xx, around = sqrt(fmax(yy - slope * xy, 0.0)) + ROUNDING;
    double offset = slope < SLOPE_MIN ? -INFINITY : mean_y - slope * mean_x - DEVIATIONS * around;
    atomic_store_explicit(&graph->part.slope, (float)slope, memory_order_relaxed);
    atomic_store_explicit(&graph->part.offset, (float)offset, memory_order_relaxed);
    graph->part.n_vertices = vertices;
}
