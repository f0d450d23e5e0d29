/* Memory of the graph. Level 0 stands in chunks of fixed lists, 256 bytes a vertex; upper levels, which one vertex in
 * GX_HNSW_M has, in blocks of 128 bytes out of slabs. All of it is anonymous and zero until written: a list without
 * links needs no preparation, and what was only reserved costs nothing. */
#include "engine_hnsw_graph.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "engine_hnsw_part.h"
#include "map.h"

#define CHUNKS_MAX  (GX_HNSW_SLOTS_MAX / GX_HNSW_CHUNK_ROWS)
#define LINKS_LEN   ((size_t)GX_HNSW_CHUNK_ROWS * GX_HNSW_M0 * sizeof(gx_hnsw_link))
#define COLUMNS_LEN ((size_t)GX_HNSW_CHUNK_ROWS * (sizeof(uint32_t) + sizeof(uint8_t)))
#define SLAB_BLOCKS (1u << GX_HNSW_SLAB_SHIFT)
#define SLAB_LEN    ((size_t)SLAB_BLOCKS * GX_HNSW_M * sizeof(gx_hnsw_link))
#define SLABS_MAX   ((size_t)1 << 14) /* 268 million blocks; 2^31 vertices need 69 million */
#define TOUCHED_PER 16                /* words of the visited set per one that is remembered */

enum gx_status gx_engine_hnsw_graph_new(size_t dim, uint64_t seed, struct gx_hnsw_graph **out, struct gx_err *err)
{
    *out = NULL;
    struct gx_hnsw_graph *graph = calloc(1, sizeof(*graph));
    if (graph == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory for an index");
    graph->seed = seed;
    graph->next_block = 1;
    pthread_mutex_init(&graph->entry_lock, NULL);
    pthread_mutex_init(&graph->works_lock, NULL);
    for (size_t i = 0; i < GX_HNSW_LOCKS; i++)
        pthread_mutex_init(&graph->locks[i], NULL);
    graph->chunks = gx_map(CHUNKS_MAX * sizeof(*graph->chunks));
    graph->slabs = gx_map(SLABS_MAX * sizeof(gx_hnsw_link *));
    enum gx_status status = graph->chunks == NULL || graph->slabs == NULL
                                ? gx_fail(err, GX_E_NOMEM, "no memory for an index")
                                : gx_codes_new(dim, GX_CODES_INT8, &graph->codes, err);
    if (status != GX_OK) {
        gx_engine_hnsw_graph_free(graph);
        return status;
    }
    gx_engine_hnsw_part_init(graph);
    *out = graph;
    return GX_OK;
}

static void free_work(struct gx_hnsw_work *work)
{
    free(work->visited);
    free(work->touched);
    free(work->beam);
    free(work->found);
    free(work);
}

void gx_engine_hnsw_graph_free(struct gx_hnsw_graph *graph)
{
    if (graph == NULL)
        return;
    struct gx_hnsw_work *next;
    for (struct gx_hnsw_work *work = graph->works; work != NULL; work = next) {
        next = work->next;
        free_work(work);
    }
    for (size_t i = 0; i < graph->n_chunks; i++) {
        munmap(graph->chunks[i].links, LINKS_LEN);
        munmap(graph->chunks[i].uppers, COLUMNS_LEN);
    }
    for (size_t i = 0; i < graph->n_slabs; i++)
        munmap(graph->slabs[i], SLAB_LEN);
    if (graph->chunks != NULL)
        munmap(graph->chunks, CHUNKS_MAX * sizeof(*graph->chunks));
    if (graph->slabs != NULL)
        munmap(graph->slabs, SLABS_MAX * sizeof(gx_hnsw_link *));
    for (size_t i = 0; i < GX_HNSW_LOCKS; i++)
        pthread_mutex_destroy(&graph->locks[i]);
    pthread_mutex_destroy(&graph->works_lock);
    pthread_mutex_destroy(&graph->entry_lock);
    gx_codes_free(graph->codes);
    free(graph);
}

static enum gx_status new_chunk(struct gx_hnsw_graph *graph, struct gx_err *err)
{
    /* The first 2 MiB of a gallery stay small pages, so that many tiny galleries cost little. */
    gx_hnsw_link *links = gx_map_huge(LINKS_LEN, graph->n_chunks == 0 ? GX_MAP_HUGE_PAGE : 0);
    uint8_t *columns = gx_map(COLUMNS_LEN);
    if (links == NULL || columns == NULL) {
        if (links != NULL)
            munmap(links, LINKS_LEN);
        if (columns != NULL)
            munmap(columns, COLUMNS_LEN);
        return gx_fail(err, GX_E_NOMEM, "no memory for a larger index");
    }
    graph->chunks[graph->n_chunks++] = (struct gx_hnsw_chunk){
        .links = links,
        .uppers = (uint32_t *)(void *)columns,
        .heights = (_Atomic uint8_t *)(columns + GX_HNSW_CHUNK_ROWS * sizeof(uint32_t)),
    };
    return GX_OK;
}

enum gx_status gx_engine_hnsw_graph_reserve(struct gx_hnsw_graph *graph, uint32_t until, struct gx_err *err)
{
    if (until <= atomic_load_explicit(&graph->reserved, memory_order_relaxed))
        return GX_OK;
    if (until > GX_HNSW_SLOTS_MAX)
        return gx_fail(err, GX_E_FULL, "this engine holds %u rows: start another gallery", GX_HNSW_SLOTS_MAX);
    GX_TRY(gx_codes_reserve(graph->codes, until, err));
    while (graph->n_chunks * GX_HNSW_CHUNK_ROWS < until)
        GX_TRY(new_chunk(graph, err));
    atomic_store_explicit(&graph->reserved, until, memory_order_release);
    return GX_OK;
}

unsigned gx_engine_hnsw_graph_height(const struct gx_hnsw_graph *graph, uint64_t rno)
{
    uint64_t h = rno * 0x9e3779b97f4a7c15u + graph->seed; /* SplitMix64 (Steele, Lea and Flood 2014) */
    h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9u;
    h = (h ^ h >> 27) * 0x94d049bb133111ebu;
    h ^= h >> 31;
    _Static_assert(GX_HNSW_M == 1 << 5, "five zero bits for each level");
    return 1 + (unsigned)__builtin_clzll(h | 1) / 5;
}

/* Blocks of the @n upper levels of a vertex, one after the other; 0 without memory. */
static uint32_t take_blocks(struct gx_hnsw_graph *graph, unsigned n)
{
    uint32_t block = graph->free_blocks[n];
    if (block != 0) {
        gx_hnsw_link *first = graph->slabs[block / SLAB_BLOCKS] + (size_t)(block % SLAB_BLOCKS) * GX_HNSW_M;
        graph->free_blocks[n] = atomic_exchange_explicit(first, 0, memory_order_relaxed);
        return block;
    }
    block = graph->next_block;
    if (block % SLAB_BLOCKS + n > SLAB_BLOCKS) /* not across slabs */
        block = (block / SLAB_BLOCKS + 1) * SLAB_BLOCKS;
    if (block / SLAB_BLOCKS >= SLABS_MAX)
        return 0;
    if (block / SLAB_BLOCKS >= graph->n_slabs) {
        gx_hnsw_link *slab = gx_map_huge(SLAB_LEN, graph->n_slabs == 0 ? SLAB_LEN : 0);
        if (slab == NULL)
            return 0;
        graph->slabs[graph->n_slabs++] = slab;
    }
    graph->next_block = block + n;
    return block;
}

enum gx_status gx_engine_hnsw_graph_make(struct gx_hnsw_graph *graph, uint32_t slot, unsigned height,
                                         struct gx_err *err)
{
    struct gx_hnsw_chunk *chunk = &graph->chunks[slot / GX_HNSW_CHUNK_ROWS];
    if (height > 1) {
        uint32_t block = take_blocks(graph, height - 1);
        if (block == 0)
            return gx_fail(err, GX_E_NOMEM, "no memory for a larger index");
        chunk->uppers[slot % GX_HNSW_CHUNK_ROWS] = block;
    }
    atomic_store_explicit(gx_hnsw_height(graph, slot), (uint8_t)height, memory_order_relaxed);
    atomic_fetch_add_explicit(&graph->n_vertices, 1, memory_order_relaxed);
    return GX_OK;
}

static void clear(gx_hnsw_link *links, size_t n)
{
    for (size_t i = 0; i < n; i++)
        atomic_store_explicit(&links[i], 0, memory_order_relaxed);
}

void gx_engine_hnsw_graph_drop(struct gx_hnsw_graph *graph, uint32_t slot)
{
    uint32_t *block = &graph->chunks[slot / GX_HNSW_CHUNK_ROWS].uppers[slot % GX_HNSW_CHUNK_ROWS];
    unsigned height = atomic_exchange_explicit(gx_hnsw_height(graph, slot), 0, memory_order_relaxed);
    if (height != 0 && (height & GX_HNSW_REMOVED) == 0)
        atomic_fetch_sub_explicit(&graph->n_vertices, 1, memory_order_relaxed);
    height &= ~GX_HNSW_REMOVED;
    for (unsigned level = 0; level < height; level++)
        clear(gx_hnsw_links(graph, slot, level), gx_hnsw_links_max(level));
    if (height <= 1)
        return;
    atomic_store_explicit(gx_hnsw_links(graph, slot, 1), graph->free_blocks[height - 1], memory_order_relaxed);
    graph->free_blocks[height - 1] = *block;
    *block = 0;
}

void gx_engine_hnsw_graph_count_bytes(struct gx_hnsw_graph *graph)
{
    uint64_t reserved = atomic_load_explicit(&graph->reserved, memory_order_relaxed);
    uint64_t bytes = sizeof(*graph) + gx_codes_bytes(graph->codes) +
                     graph->next_block * sizeof(gx_hnsw_link) * GX_HNSW_M +
                     reserved * (GX_HNSW_M0 * sizeof(gx_hnsw_link) + sizeof(uint32_t) + sizeof(uint8_t));
    atomic_store_explicit(&graph->bytes, bytes, memory_order_relaxed);
}

/* --- room to work in --- */

/* Grows an array whose content is of no interest. */
static bool grow(struct gx_hnsw_near **array, size_t *max, size_t n)
{
    if (n <= *max)
        return true;
    free(*array);
    *array = malloc(n * sizeof(**array));
    *max = *array == NULL ? 0 : n;
    return *array != NULL;
}

static bool grow_visited(struct gx_hnsw_work *work, size_t n_words)
{
    if (n_words <= work->n_words)
        return true;
    free(work->visited);
    free(work->touched);
    work->n_touched = 0;
    work->touched_max = n_words / TOUCHED_PER;
    work->visited = calloc(n_words, sizeof(*work->visited));
    work->touched = malloc((work->touched_max + 1) * sizeof(*work->touched));
    work->n_words = work->visited == NULL || work->touched == NULL ? 0 : n_words;
    return work->n_words != 0;
}

enum gx_status gx_engine_hnsw_graph_work(struct gx_hnsw_graph *graph, size_t n_beam, size_t n_found,
                                         struct gx_hnsw_work **out, struct gx_err *err)
{
    uint32_t reserved = atomic_load_explicit(&graph->reserved, memory_order_acquire);
    pthread_mutex_lock(&graph->works_lock);
    struct gx_hnsw_work *work = graph->works;
    if (work != NULL)
        graph->works = work->next;
    pthread_mutex_unlock(&graph->works_lock);
    *out = NULL;
    if (work == NULL)
        work = calloc(1, sizeof(*work));
    if (work == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory to search");
    /* Generously, or a growing gallery would make every search grow it. */
    size_t n_words = (size_t)reserved / 64 + 1;
    if (n_words > work->n_words)
        n_words += n_words / 4;
    if (!grow_visited(work, n_words) || !grow(&work->beam, &work->beam_max, n_beam + 1) ||
        !grow(&work->found, &work->found_max, n_found + 1)) {
        free_work(work);
        return gx_fail(err, GX_E_NOMEM, "no memory to search");
    }
    work->scored = 0;
    *out = work;
    return GX_OK;
}

void gx_engine_hnsw_graph_work_end(struct gx_hnsw_graph *graph, struct gx_hnsw_work *work)
{
    gx_hnsw_forget_visits(work);
    pthread_mutex_lock(&graph->works_lock);
    work->next = graph->works;
    graph->works = work;
    pthread_mutex_unlock(&graph->works_lock);
}
