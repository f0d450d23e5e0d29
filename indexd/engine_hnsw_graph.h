/* The graph of the hnsw engine: a vertex for each row taken up, with links to near ones (Malkov and Yashunin 2018).
 * Vertex = slot of the rows. For engine_hnsw*.c only.
 *
 * Memory never moves, so searches need no lock: a link is published with release after everything about the vertex that
 * it leads to has been written, and read with acquire. A list is changed under the lock of its vertex; a reader beside
 * that sees old and new links mixed, all of them good. */
#ifndef GX_ENGINE_HNSW_GRAPH_H
#define GX_ENGINE_HNSW_GRAPH_H

#include <pthread.h>
#include <stdatomic.h>

#include "codes.h"

#define GX_HNSW_M          32         /* links that a new vertex chooses on each level; most on the upper levels */
#define GX_HNSW_M0         64         /* most at level 0 */
#define GX_HNSW_EF_BUILD   128        /* width of the search for a new vertex's neighbours */
#define GX_HNSW_HEIGHT_MAX 13         /* levels of a vertex, level 0 included */
#define GX_HNSW_SLOTS_MAX  (1u << 31) /* slots have a bit to spare */
#define GX_HNSW_SCRATCH    1024       /* vertices that are compared with another at once */
#define GX_HNSW_CHUNK_ROWS (1u << 16)
#define GX_HNSW_REMOVED    0x80u /* in a height */

/* slot + 1; 0 = no more */
typedef _Atomic uint32_t gx_hnsw_link;

struct gx_hnsw_near {
    float score; /* approximate cosine */
    uint32_t slot;
};

/* Vertices of consecutive slots. */
struct gx_hnsw_chunk {
    gx_hnsw_link *links;      /* [rows][GX_HNSW_M0] level 0 */
    uint32_t *uppers;         /* [rows] first of its blocks of GX_HNSW_M links, one for each upper level */
    _Atomic uint8_t *heights; /* [rows] levels; 0 = none, GX_HNSW_REMOVED added: it is to be dropped */
};

/* What one search or insertion works in; kept for the next. */
struct gx_hnsw_work {
    struct gx_hnsw_work *next;
    uint64_t *visited; /* a bit a slot; clear between walks */
    size_t n_words;
    uint32_t *touched; /* words of it that are not zero, as long as they are few */
    size_t n_touched, touched_max;
    struct gx_hnsw_near *beam; /* best first */
    size_t beam_max, n_beam;
    struct gx_hnsw_near *found; /* what passes the filter, best first */
    size_t found_max, n_found, n_wanted;
    uint64_t scored; /* vertices compared with the probe */
    struct gx_hnsw_near near[GX_HNSW_SCRATCH], rest[GX_HNSW_SCRATCH];
    uint32_t slots[GX_HNSW_SCRATCH];
    float scores[GX_HNSW_SCRATCH];
    const int8_t *codes[GX_HNSW_SCRATCH];
    int32_t dots[GX_HNSW_SCRATCH], part_dots[GX_HNSW_SCRATCH];
};

#define GX_HNSW_LOCKS 1024

/* What the first part of a code says about the whole: a vertex that scores s scores about slope * s + offset by it.
 * engine_hnsw_part.h. */
struct gx_hnsw_part {
    size_t n;                    /* values; 0 = codes are too short to be worth it */
    _Atomic float slope, offset; /* so much lower that few that score above a bar stay below the part's */
    uint64_t n_vertices;         /* when that was measured; 0 = never */
};

/* What a vertex must reach by the first part to be likely to score above @bar. */
static inline float gx_hnsw_part_bar(const struct gx_hnsw_part *part, float bar)
{
    return atomic_load_explicit(&part->slope, memory_order_relaxed) * bar +
           atomic_load_explicit(&part->offset, memory_order_relaxed);
}

struct gx_hnsw_graph {
    struct gx_codes *codes; /* int8 */
    uint64_t seed;
    struct gx_hnsw_part part;
    struct gx_hnsw_chunk *chunks; /* room for all slots */
    size_t n_chunks;
    _Atomic uint32_t reserved; /* slots that have memory; walks that begin now look at those below */
    gx_hnsw_link **slabs;      /* of blocks for upper levels; room for all */
    size_t n_slabs;
    uint32_t next_block;                      /* 0 is never used */
    uint32_t free_blocks[GX_HNSW_HEIGHT_MAX]; /* by number of levels; each begins with the next */
    _Atomic uint64_t entry;                   /* height << 32 | slot; 0 = no vertex */
    _Atomic uint64_t n_vertices;
    _Atomic uint64_t bytes; /* memory, computed */
    pthread_mutex_t entry_lock, works_lock;
    struct gx_hnsw_work *works; /* idle */
    pthread_mutex_t locks[GX_HNSW_LOCKS];
};

/* Owns its codes. GX_E_NOMEM. */
GX_MUST enum gx_status gx_engine_hnsw_graph_new(size_t dim, uint64_t seed, struct gx_hnsw_graph **out,
                                                struct gx_err *err);
void gx_engine_hnsw_graph_free(struct gx_hnsw_graph *graph);

/* Slots below @until can become vertices, and have codes. GX_E_NOMEM, GX_E_FULL. */
GX_MUST enum gx_status gx_engine_hnsw_graph_reserve(struct gx_hnsw_graph *graph, uint32_t until, struct gx_err *err);
/* Levels of the row @rno: of GX_HNSW_M vertices on a level one is on the next, by a hash. */
unsigned gx_engine_hnsw_graph_height(const struct gx_hnsw_graph *graph, uint64_t rno);
/* Makes the vertex, without links. GX_E_NOMEM. From one thread, as drop is: forgets a vertex, removed or not, to which
 * no link leads any more and which no walk looks at. */
GX_MUST enum gx_status gx_engine_hnsw_graph_make(struct gx_hnsw_graph *graph, uint32_t slot, unsigned height,
                                                 struct gx_err *err);
void gx_engine_hnsw_graph_drop(struct gx_hnsw_graph *graph, uint32_t slot);
/* Brings graph->bytes up to date; from the thread that changes the graph. */
void gx_engine_hnsw_graph_count_bytes(struct gx_hnsw_graph *graph);

/* Room to work in, for walks over the slots that are reserved now, at least @n_beam wide. GX_E_NOMEM. */
GX_MUST enum gx_status gx_engine_hnsw_graph_work(struct gx_hnsw_graph *graph, size_t n_beam, size_t n_found,
                                                 struct gx_hnsw_work **out, struct gx_err *err);
void gx_engine_hnsw_graph_work_end(struct gx_hnsw_graph *graph, struct gx_hnsw_work *work);

static inline size_t gx_hnsw_links_max(unsigned level)
{
    return level == 0 ? GX_HNSW_M0 : GX_HNSW_M;
}

#define GX_HNSW_SLAB_SHIFT 14 /* blocks of a huge page */

static inline gx_hnsw_link *gx_hnsw_links(const struct gx_hnsw_graph *graph, uint32_t slot, unsigned level)
{
    const struct gx_hnsw_chunk *chunk = &graph->chunks[slot / GX_HNSW_CHUNK_ROWS];
    size_t at = slot % GX_HNSW_CHUNK_ROWS;
    if (level == 0)
        return chunk->links + at * GX_HNSW_M0;
    uint32_t block = chunk->uppers[at] + level - 1;
    return graph->slabs[block >> GX_HNSW_SLAB_SHIFT] + (block & ((1u << GX_HNSW_SLAB_SHIFT) - 1)) * (size_t)GX_HNSW_M;
}

static inline _Atomic uint8_t *gx_hnsw_height(const struct gx_hnsw_graph *graph, uint32_t slot)
{
    return &graph->chunks[slot / GX_HNSW_CHUNK_ROWS].heights[slot % GX_HNSW_CHUNK_ROWS];
}

/* Levels that its links are on; 0: none, or removed. */
static inline unsigned gx_hnsw_levels(const struct gx_hnsw_graph *graph, uint32_t slot)
{
    unsigned height = atomic_load_explicit(gx_hnsw_height(graph, slot), memory_order_relaxed);
    return (height & GX_HNSW_REMOVED) != 0 ? 0 : height;
}

/* Copies a list; how many. */
static inline size_t gx_hnsw_read_links(const gx_hnsw_link *links, size_t max, uint32_t *out_slots)
{
    size_t n = 0;
    uint32_t link;
    while (n < max && (link = atomic_load_explicit(&links[n], memory_order_acquire)) != 0)
        out_slots[n++] = link - 1;
    return n;
}

/* The lock of the lists of a vertex. One at a time. */
static inline pthread_mutex_t *gx_hnsw_lock(struct gx_hnsw_graph *graph, uint32_t slot)
{
    return &graph->locks[slot % GX_HNSW_LOCKS];
}

/* True the first time since the set was cleared. */
static inline bool gx_hnsw_visit(struct gx_hnsw_work *work, uint32_t slot)
{
    uint64_t *word = &work->visited[slot / 64], bit = (uint64_t)1 << slot % 64;
    if ((*word & bit) != 0)
        return false;
    if (*word == 0 && work->n_touched++ < work->touched_max)
        work->touched[work->n_touched - 1] = slot / 64;
    *word |= bit;
    return true;
}

static inline void gx_hnsw_forget_visits(struct gx_hnsw_work *work)
{
    if (work->n_touched > work->touched_max)
        memset(work->visited, 0, work->n_words * sizeof(*work->visited));
    else
        for (size_t i = 0; i < work->n_touched; i++)
            work->visited[work->touched[i]] = 0;
    work->n_touched = 0;
}

#endif
