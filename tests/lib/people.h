/* Synthetic face embeddings that behave like real ones. System headers only; needs -lm for the statistics.
 *
 * What is calibrated, at 512 dimensions: the cosines of two photos of one person and of two persons, how flat the
 * spectrum is, how crowded the neighbourhoods are, how many photos a person has. Other dimensions (2 to 4096) use the
 * same model, scaled. Nothing here was copied from a photo of anybody.
 *
 * Row i depends on the seed, the dimension and i alone, so sets of any size are streamed and every smaller set is the
 * beginning of the bigger one. No libm function and no reordered sum is in the way of a row: the same seed gives the
 * same bytes wherever float and double are IEEE and the compiler may not contract or reassociate (no -ffast-math).
 *
 * Threads: a struct gx_people is constant after init; any number of threads may read it. Nothing blocks. */
#ifndef GX_PEOPLE_H
#define GX_PEOPLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GX_PEOPLE_DIM_MIN    2u
#define GX_PEOPLE_DIM_MAX    4096u
#define GX_PEOPLE_PHOTOS_MAX 40u   /* of one person in the gallery */
#define GX_PEOPLE_LEVELS     2048u /* values that a random number takes */
#define GX_PEOPLE_CYCLE      4096u /* persons after which the numbers of photos repeat */
#define GX_PEOPLE_CYCLE_ROWS 7168u
#define GX_PEOPLE_ID_MAX     32u

/* Persons with this bit are not enrolled: they occur among the probes only. */
#define GX_PEOPLE_STRANGER (UINT64_C(1) << 40)

/* About 90 KB: make it static or put it on the heap. Read the first four members only. */
struct gx_people {
    uint64_t seed;
    uint64_t n_rows;
    uint64_t n_persons; /* that have a photo among the n_rows */
    uint32_t dim;
    uint32_t block; /* the largest power of two <= dim */
    uint32_t cycle_rows;
    float scale[GX_PEOPLE_DIM_MAX];  /* sqrt of the spectrum, shuffled over the components */
    float shared[GX_PEOPLE_DIM_MAX]; /* what all faces have in common */
    float side[GX_PEOPLE_DIM_MAX];   /* +1 or -1 */
    float normal[GX_PEOPLE_LEVELS];  /* quantiles, mean 0, variance 1 */
    float trait[GX_PEOPLE_LEVELS];
    uint16_t cycle_first[GX_PEOPLE_CYCLE + 1]; /* first row of each person of a cycle */
    uint16_t cycle_person[GX_PEOPLE_CYCLE_ROWS];
};

struct gx_people_photo {
    uint64_t person; /* 0, 1, …; rows of one person stand together */
    uint32_t photo;  /* of this person: 0, 1, … */
    uint32_t arrest; /* of this person: 1, 2, …; two photos each where there are several */
};

/* Prepares @p (the caller's storage, nothing to release) for a gallery of @n_rows rows (any number).
 * False where @dim is outside 2..4096. Takes about a millisecond. */
__attribute__((warn_unused_result)) bool gx_people_init(struct gx_people *p, uint64_t seed, uint32_t dim,
                                                        uint64_t n_rows);

/* Writes row @i of the gallery (dim floats of unit length) to @out_row and whose it is to @out_photo; either may be
 * NULL. @i may lie beyond n_rows: the gallery that goes on. */
void gx_people_row(const struct gx_people *p, uint64_t i, float *out_row, struct gx_people_photo *out_photo);

/* Which rows of the gallery are photos of @person: the first one and how many (0 for a stranger). */
void gx_people_rows_of(const struct gx_people *p, uint64_t person, uint64_t *out_first, uint32_t *out_n);

/* Writes probe @j (any number) to @out_row and its person to @out_person; either may be NULL. 82 of 100 probes are a
 * new photo of an enrolled person (the more photos somebody has, the more often), the others show somebody who is not
 * enrolled (GX_PEOPLE_STRANGER). Depends on n_rows, as it must. */
void gx_people_probe(const struct gx_people *p, uint64_t j, float *out_row, uint64_t *out_person);

/* Ids as text: "photo-00000012", "p0000007" ("u0000007" for a stranger), "A0000007-1". */
void gx_people_record_id(uint64_t row, char out_id[GX_PEOPLE_ID_MAX]);
void gx_people_subject_id(uint64_t person, char out_id[GX_PEOPLE_ID_MAX]);
void gx_people_arrest_id(uint64_t person, uint32_t arrest, char out_id[GX_PEOPLE_ID_MAX]);

#endif
