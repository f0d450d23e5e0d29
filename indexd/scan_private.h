/* What the files of the scan share, and nobody else includes. */
#ifndef GX_SCAN_PRIVATE_H
#define GX_SCAN_PRIVATE_H

#include "scan.h"

#define GX_SCAN_LANES_MAX 4
#define GX_SCAN_CARRY     ((size_t)4096) /* bytes of the last piece that the next one begins with */
#define GX_SCAN_PIECE     ((size_t)256 << 10)

/* A window of a pattern; those that are equal to it hang behind it. */
struct gx_scan_window {
    uint64_t hash;
    uint32_t member, offset;
    uint32_t same; /* index + 1 of the next one with the same bytes, of another pattern; 0 = none */
};

/* The patterns of one min_match. See scan_lane.c for how it works. */
struct gx_scan_lane {
    size_t match;                           /* min_match */
    size_t stride;                          /* every so many bytes of a file a word of 8 bytes is looked up … */
    size_t step;                            /* … among the words at every so many bytes of a pattern */
    const struct gx_scan_pattern *patterns; /* all */
    uint32_t *members;                      /* [n] of the lane: index into patterns */
    uint32_t *first_word;                   /* [n + 1] */
    size_t n;

    bool few;        /* words */
    uint64_t *sieve; /* Bloom filter: of few words one bit for each, else each word of 64 bits a filter of its own */
    unsigned sieve_bits;
    uint64_t *slots; /* hash table: number of the word + 1, with COMMON_BIT where it is common, and its tag; 0 = free */
    unsigned slot_bits;

    /* Every window that holds a common word; empty in the ordinary case that there is none. */
    struct gx_scan_window *windows;
    size_t n_windows, cap_windows;
    uint64_t *window_sieve;
    uint32_t *window_slots;
    unsigned window_bits;
    uint64_t leaving; /* what the oldest byte of a window has been multiplied with */
};

struct gx_scan {
    const struct gx_scan_pattern *patterns;
    size_t n_patterns;
    size_t n_lanes;
    struct gx_scan_lane lanes[GX_SCAN_LANES_MAX];
};

/* One lane in one file. */
struct gx_scan_place {
    uint64_t next;        /* offset of the next word to look up */
    uint64_t covered;     /* the runs found so far end here */
    uint64_t window_next; /* offset of the window whose hash is window_hash … */
    uint64_t window_hash; /* … */
    bool has_window;      /* … when there is one */
    /* The latest of their kind: in a long run of zeros all are the same. */
    uint64_t common_word, latest_hash;
    uint64_t latest_until; /* windows with that hash need no second look up to here */
    bool has_common, has_latest;
    uint64_t *spread_bits; /* windows whose patterns are all marked; of the whole scan */
};

/* A piece of a file in memory. */
struct gx_scan_piece {
    const uint8_t *bytes;
    size_t len;
    uint64_t offset; /* of bytes[0] in the file */
    bool last;       /* the file ends with it */
};

/* Called with a run: pattern, offset of its first byte and of the first byte after it. */
typedef void gx_scan_found(void *arg, size_t pattern, uint64_t from, uint64_t until);

GX_MUST enum gx_status gx_scan_lane_init(struct gx_scan_lane *lane, const struct gx_scan_pattern *patterns, size_t n,
                                         size_t match, struct gx_err *err);
void gx_scan_lane_fini(struct gx_scan_lane *lane);

/* Looks at what is new in @piece. @seen[pattern]: it was found before. @found marks it. */
void gx_scan_lane_look(const struct gx_scan_lane *lane, struct gx_scan_place *place, const struct gx_scan_piece *piece,
                       const bool *seen, gx_scan_found *found, void *found_arg);

#endif
