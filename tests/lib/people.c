/* The path of a row: (seed, person) -> traits; (seed, person, photo) -> quality, look and noise; their weighted sum in
 * the space of components, where the spectrum applies; two or three signed Hadamard transforms, which spread every
 * component over all coordinates; unit length.
 *
 * What can go wrong: a compiler that contracts or reorders float arithmetic changes the bytes (the test with the
 * recorded checksum notices); a new constant below changes the statistics (the other tests notice). */
#include "people.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif

/* The model, fitted to 512-d embeddings of the public Labeled Faces in the Wild photos. A photo is
 *     traits of the person + noise + what all faces share,  noise = look (some photos have it in common) + its own,
 * and the length of the noise against that of the traits is the photo's quality, which has a bad tail. */
#define HEAD_AT_128    135.0 /* components that carry the energy; grows with the fourth root of the dimension */
#define SPECTRUM_SLOPE 1.3   /* their energies fall evenly from 1 + slope/2 to 1 - slope/2 times the mean */
#define TAIL_ENERGY    0.015 /* share of all other components together: faint, but full rank */
#define TRAIT_BEND     0.33  /* traits follow a bent exponential law: rare strong traits make look-alikes */
#define TRAIT_LEFT     0.3   /* strength of its negative side */
#define NOISE_RATIO    0.53  /* squared length of noise over traits in a typical photo */
#define NOISE_PERSON   0.21  /* spread of the logarithm of that ratio from person to person */
#define NOISE_PHOTO    0.33  /* and from photo to photo; skewed like the traits */
#define LOOKS          8     /* per person: age, beard, glasses, one day's light */
#define LOOK_SHARE     0.4   /* of the noise */
#define SHARED_LENGTH  0.093 /* of the part that all faces have in common */
#define MATED          0.82  /* share of the probes */

enum purpose { FOR_SPECTRUM = 1, FOR_COUNTS, FOR_TRAITS, FOR_NOISE, FOR_LOOK, FOR_PROBE };

struct random {
    uint64_t state;
};

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* SplitMix64, started at a hash of what it is for: any stream without the ones before. */
static struct random random_for(const struct gx_people *p, enum purpose purpose, uint64_t a, uint64_t b)
{
    uint64_t h = mix(p->seed + UINT64_C(0x9e3779b97f4a7c15) * (uint64_t)purpose);
    h = mix(h ^ (a + UINT64_C(0x632be59bd9b4e019)));
    h = mix(h ^ (b + UINT64_C(0xd1342543de82ef95)));
    return (struct random){h};
}

static inline uint64_t random_next(struct random *r)
{
    r->state += UINT64_C(0x9e3779b97f4a7c15);
    return mix(r->state);
}

/* 0 <= result < n. */
static uint64_t random_below(struct random *r, uint64_t n)
{
    return (uint64_t)(((unsigned __int128)random_next(r) * n) >> 64);
}

static inline float random_level(const float *table, struct random *r)
{
    return table[random_next(r) >> 53];
}

/* Fills out[0..n) from a table of quantiles, four to a random word; writes up to three more. */
static void random_fill(const float *table, struct random *r, float *out, size_t n)
{
    for (size_t i = 0; i < n; i += 4) {
        uint64_t w = random_next(r);
        out[i] = table[(w >> 5) & (GX_PEOPLE_LEVELS - 1)];
        out[i + 1] = table[(w >> 21) & (GX_PEOPLE_LEVELS - 1)];
        out[i + 2] = table[(w >> 37) & (GX_PEOPLE_LEVELS - 1)];
        out[i + 3] = table[w >> 53];
    }
}

/* ---- vectors: sums in a fixed order, whatever the machine's width ---- */

typedef float lanes __attribute__((vector_size(32), aligned(4), may_alias));

static float square_sum(const float *a, size_t n)
{
    lanes sum = {0};
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        lanes x = *(const lanes *)(a + i);
        sum += x * x;
    }
    for (size_t j = 0; i + j < n; j++)
        sum[j] += a[i + j] * a[i + j];
    float s = 0;
    for (int j = 0; j < 8; j++)
        s += sum[j];
    return s;
}

/* Fast Walsh-Hadamard transform of n = 2^k values. */
static void hadamard(float *a, size_t n)
{
    for (size_t h = 1; h < n && h < 8; h *= 2)
        for (size_t i = 0; i < n; i += 2 * h)
            for (size_t j = i; j < i + h; j++) {
                float x = a[j], y = a[j + h];
                a[j] = x + y;
                a[j + h] = x - y;
            }
    for (size_t h = 8; h < n; h *= 2)
        for (size_t i = 0; i < n; i += 2 * h)
            for (size_t j = i; j < i + h; j += 8) {
                lanes x = *(lanes *)(a + j), y = *(lanes *)(a + j + h);
                *(lanes *)(a + j) = x + y;
                *(lanes *)(a + j + h) = x - y;
            }
    float even = (float)(1 / sqrt((double)n));
    for (size_t i = 0; i < n; i++)
        a[i] *= even;
}

static void multiply(float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        a[i] *= b[i];
}

/* Where dim is no power of two, two overlapping blocks are transformed in turn. The signs must differ from one turn to
 * the next, or transforms undo each other outside the overlap. */
static void rotate(const struct gx_people *p, float *row)
{
    size_t n = p->block, dim = p->dim;
    hadamard(row, n);
    multiply(row, p->side, dim);
    hadamard(row + dim - n, n);
    if (n == dim)
        return;
    for (size_t i = 0; i < dim; i++)
        row[i] *= p->side[dim - 1 - i];
    hadamard(row, n);
}

static void normalise(float *row, size_t n)
{
    float s = square_sum(row, n);
    if (!(s > 1e-30f)) { /* cannot happen by chance except in the lowest dimensions */
        memset(row, 0, n * sizeof *row);
        row[0] = 1;
        return;
    }
    float f = 1 / sqrtf(s);
    for (size_t i = 0; i < n; i++)
        row[i] *= f;
}

/* ---- a photo ---- */

/* e^x for |x| < 4 or so: near enough for a law of our own choice, and the same everywhere. */
static float exp_like(float x)
{
    float e = 1 + x / 8;
    e *= e;
    e *= e;
    return e * e;
}

static void make_photo(const struct gx_people *p, uint64_t person, uint64_t photo, float *out_row)
{
    float trait[GX_PEOPLE_DIM_MAX + 4], look[GX_PEOPLE_DIM_MAX + 4], own[GX_PEOPLE_DIM_MAX + 4];
    size_t dim = p->dim;

    struct random r = random_for(p, FOR_TRAITS, person, 0);
    float badness = (float)NOISE_PERSON * random_level(p->normal, &r);
    random_fill(p->trait, &r, trait, dim);
    multiply(trait, p->scale, dim);
    float length2 = square_sum(trait, dim);

    r = random_for(p, FOR_NOISE, person, photo);
    badness += (float)NOISE_PHOTO * random_level(p->trait, &r);
    uint64_t which = random_below(&r, LOOKS);
    random_fill(p->normal, &r, own, dim);
    r = random_for(p, FOR_LOOK, person, which);
    random_fill(p->normal, &r, look, dim);

    float ratio = (float)NOISE_RATIO * exp_like(badness);
    float f_trait = 1 / sqrtf((1 + ratio) * (length2 > 1e-12f ? length2 : 1e-12f));
    float f_own = sqrtf(ratio / (1 + ratio) * (1 - (float)LOOK_SHARE));
    float f_look = sqrtf(ratio / (1 + ratio) * (float)LOOK_SHARE);
    for (size_t i = 0; i < dim; i++) {
        float noise = p->scale[i] * (f_own * own[i] + f_look * look[i]);
        out_row[i] = f_trait * trait[i] + noise + p->shared[i];
    }
    rotate(p, out_row);
    normalise(out_row, dim);
}

void gx_people_row(const struct gx_people *p, uint64_t i, float *out_row, struct gx_people_photo *out_photo)
{
    uint64_t cycle = i / p->cycle_rows, at = i % p->cycle_rows;
    uint64_t in_cycle = p->cycle_person[at];
    uint64_t person = cycle * GX_PEOPLE_CYCLE + in_cycle;
    uint32_t photo = (uint32_t)(at - p->cycle_first[in_cycle]);
    if (out_photo != NULL)
        *out_photo = (struct gx_people_photo){person, photo, photo / 2 + 1};
    if (out_row != NULL)
        make_photo(p, person, photo, out_row);
}

void gx_people_rows_of(const struct gx_people *p, uint64_t person, uint64_t *out_first, uint32_t *out_n)
{
    *out_first = 0;
    *out_n = 0;
    if (person >= p->n_persons)
        return;
    uint64_t cycle = person / GX_PEOPLE_CYCLE, at = person % GX_PEOPLE_CYCLE;
    uint64_t first = cycle * p->cycle_rows + p->cycle_first[at];
    uint64_t end = cycle * p->cycle_rows + p->cycle_first[at + 1];
    *out_first = first;
    *out_n = (uint32_t)((end < p->n_rows ? end : p->n_rows) - first);
}

void gx_people_probe(const struct gx_people *p, uint64_t j, float *out_row, uint64_t *out_person)
{
    struct random r = random_for(p, FOR_PROBE, j, 0);
    uint64_t person = GX_PEOPLE_STRANGER + j;
    bool mated = (double)(random_next(&r) >> 11) * 0x1p-53 < MATED;
    if (mated && p->n_rows > 0) {
        struct gx_people_photo photo;
        gx_people_row(p, random_below(&r, p->n_rows), NULL, &photo);
        person = photo.person;
    }
    if (out_person != NULL)
        *out_person = person;
    if (out_row != NULL)
        make_photo(p, person, GX_PEOPLE_STRANGER + j, out_row); /* a photo number that no row has */
}

/* ---- setting up ---- */

/* Natural logarithm, 0 < x < 1, to about 1e-15: libm's may differ in the last bit from one machine to the next. */
static double ln(double x)
{
    int e;
    double m = frexp(x, &e), t = (m - 1) / (m + 1), t2 = t * t, sum = 0, power = t;
    for (int k = 1; k < 60; k += 2) {
        sum += power / k;
        power *= t2;
    }
    return 2 * sum + e * 0.69314718055994530942;
}

/* Quantile of the normal law, 0 < u < 1: Acklam's rational approximation, relative error 1e-9. */
static double normal_quantile(double u)
{
    static const double a[] = {-3.969683028665376e+01, 2.209460984245205e+02,  -2.759285104469687e+02,
                               1.383577518672690e+02,  -3.066479806614716e+01, 2.506628277459239e+00};
    static const double b[] = {-5.447609879822406e+01, 1.615858368580409e+02,  -1.556989798598866e+02,
                               6.680131188771972e+01,  -1.328068155288572e+01, 1};
    static const double c[] = {-7.784894002430293e-03, -3.223964580411365e-01, -2.400758277161838e+00,
                               -2.549732539343734e+00, 4.374664141464968e+00,  2.938163982698783e+00};
    static const double d[] = {7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e+00,
                               3.754408661907416e+00, 1};
    if (u > 0.5)
        return -normal_quantile(1 - u);
    bool tail = u < 0.02425;
    double q = tail ? sqrt(-2 * ln(u)) : u - 0.5;
    double x = tail ? q : q * q, num = 0, den = 0;
    for (int i = 0; i < 6; i++)
        num = num * x + (tail ? c[i] : a[i]);
    for (int i = 0; i < (tail ? 5 : 6); i++)
        den = den * x + (tail ? d[i] : b[i]);
    return tail ? num / den : num * q / den;
}

static void standardise(float *table)
{
    double sum = 0, sum2 = 0;
    for (size_t i = 0; i < GX_PEOPLE_LEVELS; i++)
        sum += (double)table[i];
    double mean = sum / GX_PEOPLE_LEVELS;
    for (size_t i = 0; i < GX_PEOPLE_LEVELS; i++)
        sum2 += ((double)table[i] - mean) * ((double)table[i] - mean);
    double f = 1 / sqrt(sum2 / GX_PEOPLE_LEVELS);
    for (size_t i = 0; i < GX_PEOPLE_LEVELS; i++)
        table[i] = (float)(((double)table[i] - mean) * f);
}

static void set_tables(struct gx_people *p)
{
    for (size_t i = 0; i < GX_PEOPLE_LEVELS; i++) {
        double u = ((double)i + 0.5) / GX_PEOPLE_LEVELS;
        double right = -ln(1 - u), left = -ln(u);
        p->normal[i] = (float)normal_quantile(u);
        p->trait[i] = (float)(right + TRAIT_BEND * right * right - TRAIT_LEFT * (left + TRAIT_BEND * left * left));
    }
    standardise(p->normal);
    standardise(p->trait);
}

/* A head of components that hold nearly all the energy and fall slowly, then a faint tail up to full rank. */
static void set_spectrum(struct gx_people *p, struct random *r)
{
    uint32_t dim = p->dim, head = (uint32_t)(HEAD_AT_128 * sqrt(sqrt(dim / 128.0)));
    head = head < dim ? head : dim;
    double tail = head < dim ? TAIL_ENERGY : 0, sum = 0;
    double energy[GX_PEOPLE_DIM_MAX];
    for (uint32_t i = 0; i < dim; i++) {
        energy[i] = i < head ? 1 + SPECTRUM_SLOPE * (0.5 - (i + 0.5) / head) : tail / (1 - tail) * head / (dim - head);
        sum += energy[i];
    }
    for (uint32_t i = dim - 1; i > 0; i--) {
        uint32_t j = (uint32_t)random_below(r, i + 1);
        double keep = energy[i];
        energy[i] = energy[j];
        energy[j] = keep;
    }
    for (uint32_t i = 0; i < dim; i++) {
        p->scale[i] = (float)sqrt(energy[i] / sum);
        p->shared[i] = (float)SHARED_LENGTH * (random_next(r) >> 63 ? p->scale[i] : -p->scale[i]);
        p->side[i] = random_next(r) >> 63 ? 1.0f : -1.0f;
    }
}

/* Photos per person: the law n^-2.5 for 1 to 40, exact over a cycle of persons and in random order within it. */
static void set_cycle(struct gx_people *p, struct random *r)
{
    double below[GX_PEOPLE_PHOTOS_MAX + 1] = {0};
    for (uint32_t n = 1; n <= GX_PEOPLE_PHOTOS_MAX; n++)
        below[n] = below[n - 1] + 1 / ((double)n * n * sqrt((double)n));
    uint8_t count[GX_PEOPLE_CYCLE];
    for (uint32_t i = 0, n = 1; i < GX_PEOPLE_CYCLE; i++) {
        while (below[n] <= (i + 0.5) / GX_PEOPLE_CYCLE * below[GX_PEOPLE_PHOTOS_MAX])
            n++;
        count[i] = (uint8_t)n;
    }
    for (uint32_t i = GX_PEOPLE_CYCLE - 1; i > 0; i--) {
        uint32_t j = (uint32_t)random_below(r, i + 1);
        uint8_t keep = count[i];
        count[i] = count[j];
        count[j] = keep;
    }
    uint32_t rows = 0;
    for (uint32_t i = 0; i < GX_PEOPLE_CYCLE; i++) {
        p->cycle_first[i] = (uint16_t)rows;
        for (uint32_t n = 0; n < count[i]; n++) {
            assert(rows < GX_PEOPLE_CYCLE_ROWS);
            p->cycle_person[rows++] = (uint16_t)i;
        }
    }
    p->cycle_first[GX_PEOPLE_CYCLE] = (uint16_t)rows;
    p->cycle_rows = rows;
}

bool gx_people_init(struct gx_people *p, uint64_t seed, uint32_t dim, uint64_t n_rows)
{
    if (dim < GX_PEOPLE_DIM_MIN || dim > GX_PEOPLE_DIM_MAX)
        return false;
    memset(p, 0, sizeof *p);
    p->seed = seed;
    p->dim = dim;
    p->n_rows = n_rows;
    for (p->block = 2; p->block * 2 <= dim;)
        p->block *= 2;
    struct random r = random_for(p, FOR_SPECTRUM, dim, 0);
    set_tables(p);
    set_spectrum(p, &r);
    r = random_for(p, FOR_COUNTS, 0, 0); /* who has how many photos does not depend on the dimension */
    set_cycle(p, &r);
    if (n_rows > 0) {
        struct gx_people_photo last;
        gx_people_row(p, n_rows - 1, NULL, &last);
        p->n_persons = last.person + 1;
    }
    return true;
}

void gx_people_record_id(uint64_t row, char out_id[GX_PEOPLE_ID_MAX])
{
    snprintf(out_id, GX_PEOPLE_ID_MAX, "photo-%08llu", (unsigned long long)row);
}

void gx_people_subject_id(uint64_t person, char out_id[GX_PEOPLE_ID_MAX])
{
    bool stranger = (person & GX_PEOPLE_STRANGER) != 0;
    snprintf(out_id, GX_PEOPLE_ID_MAX, "%c%07llu", stranger ? 'u' : 'p',
             (unsigned long long)(person & ~GX_PEOPLE_STRANGER));
}

void gx_people_arrest_id(uint64_t person, uint32_t arrest, char out_id[GX_PEOPLE_ID_MAX])
{
    snprintf(out_id, GX_PEOPLE_ID_MAX, "A%07llu-%u", (unsigned long long)person, arrest);
}
