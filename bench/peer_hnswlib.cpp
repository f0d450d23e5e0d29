#include "peer_hnswlib.h"

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>

#include <hnswlib/hnswlib.h>

struct gx_peer_hnswlib {
    hnswlib::InnerProductSpace space;
    std::unique_ptr<hnswlib::HierarchicalNSW<float>> index;

    explicit gx_peer_hnswlib(size_t dim) : space(dim) {}
};

namespace
{
[[noreturn]] void die(const char *what, const std::exception &e)
{
    std::fprintf(stderr, "hnswlib: %s: %s\n", what, e.what());
    std::exit(1);
}
} // namespace

gx_peer_hnswlib *gx_peer_hnswlib_new(size_t dim, size_t capacity, size_t m, size_t ef_construction)
{
    try {
        auto peer = std::make_unique<gx_peer_hnswlib>(dim);
        peer->index = std::make_unique<hnswlib::HierarchicalNSW<float>>(&peer->space, capacity, m, ef_construction);
        return peer.release();
    } catch (const std::exception &e) {
        die("new", e);
    }
}

gx_peer_hnswlib *gx_peer_hnswlib_read(size_t dim, size_t capacity, const char *path)
{
    try {
        auto peer = std::make_unique<gx_peer_hnswlib>(dim);
        peer->index = std::make_unique<hnswlib::HierarchicalNSW<float>>(&peer->space, path, false, capacity);
        return peer.release();
    } catch (const std::exception &e) {
        die("read", e);
    }
}

void gx_peer_hnswlib_write(const gx_peer_hnswlib *peer, const char *path)
{
    try {
        peer->index->saveIndex(path);
    } catch (const std::exception &e) {
        die("write", e);
    }
}

void gx_peer_hnswlib_free(gx_peer_hnswlib *peer)
{
    delete peer;
}

void gx_peer_hnswlib_add(gx_peer_hnswlib *peer, const float *row, uint32_t label)
{
    try {
        peer->index->addPoint(row, label);
    } catch (const std::exception &e) {
        die("add", e);
    }
}

void gx_peer_hnswlib_set_ef(gx_peer_hnswlib *peer, size_t ef)
{
    peer->index->setEf(ef);
}

size_t gx_peer_hnswlib_search(const gx_peer_hnswlib *peer, const float *probe, size_t k, uint32_t *out_labels)
{
    try {
        auto found = peer->index->searchKnn(probe, k);
        size_t n = found.size();
        for (size_t i = n; i > 0; i--, found.pop())
            out_labels[i - 1] = static_cast<uint32_t>(found.top().second);
        return n;
    } catch (const std::exception &e) {
        die("search", e);
    }
}
