/* hnswlib (Debian's libhnswlib-dev, headers only) behind an interface in C, for comparison. Inner products of unit
 * rows. Exceptions end the program with a line on the standard error. */
#ifndef GX_PEER_HNSWLIB_H
#define GX_PEER_HNSWLIB_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct gx_peer_hnswlib;

/* An empty index with room for @capacity rows. */
struct gx_peer_hnswlib *gx_peer_hnswlib_new(size_t dim, size_t capacity, size_t m, size_t ef_construction);
/* What gx_peer_hnswlib_write wrote to @path, with room for @capacity rows. */
struct gx_peer_hnswlib *gx_peer_hnswlib_read(size_t dim, size_t capacity, const char *path);
void gx_peer_hnswlib_write(const struct gx_peer_hnswlib *peer, const char *path);
void gx_peer_hnswlib_free(struct gx_peer_hnswlib *peer);

/* Row @label; any number of threads at once. */
void gx_peer_hnswlib_add(struct gx_peer_hnswlib *peer, const float *row, uint32_t label);

/* For all searches to come; nobody searches. */
void gx_peer_hnswlib_set_ef(struct gx_peer_hnswlib *peer, size_t ef);

/* Labels of the @k best, best first, into out_labels[k]; returns how many. Any number of threads at once. */
size_t gx_peer_hnswlib_search(const struct gx_peer_hnswlib *peer, const float *probe, size_t k, uint32_t *out_labels);

#ifdef __cplusplus
}
#endif

#endif
