/* The path: pairs within and between persons; the spectrum of the persons' means (covariance, Householder to
 * tridiagonal form, QL for the eigenvalues); neighbourhoods by brute force, a few queries to each pass over the rows.
 * What can go wrong: memory. Everything else is arithmetic on sets that fit into memory. */
#include "people_stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define GENUINE_PHOTOS 10
#define IMPOSTOR_PAIRS 1000000
#define NEIGHBOURS     20
#define BATCH          8

typedef float lanes __attribute__((vector_size(32), aligned(4), may_alias));
typedef double wide __attribute__((vector_size(32), aligned(8), may_alias));

static float dot(const float *a, const float *b, size_t n)
{
    lanes s = {0}, t = {0};
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        s += *(const lanes *)(a + i) * *(const lanes *)(b + i);
        t += *(const lanes *)(a + i + 8) * *(const lanes *)(b + i + 8);
    }
    s += t;
    float sum = 0;
    for (int j = 0; j < 8; j++)
        sum += s[j];
    for (; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* a[0..n) += f * b[0..n) */
static void add_scaled(double *a, double f, const double *b, size_t n)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        *(wide *)(a + i) += f * *(const wide *)(b + i);
    for (; i < n; i++)
        a[i] += f * b[i];
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts @v. NaN for an empty one. */
static double quantile(double *v, size_t n, double q)
{
    if (n == 0)
        return NAN;
    qsort(v, n, sizeof *v, compare_doubles);
    return v[(size_t)((double)(n - 1) * q + 0.5)];
}

static void moments(const double *v, size_t n, double *out_mean, double *out_sd)
{
    double sum = 0, sum2 = 0;
    for (size_t i = 0; i < n; i++)
        sum += v[i];
    *out_mean = n > 0 ? sum / (double)n : NAN;
    for (size_t i = 0; i < n; i++)
        sum2 += (v[i] - *out_mean) * (v[i] - *out_mean);
    *out_sd = n > 1 ? sqrt(sum2 / (double)(n - 1)) : NAN;
}

/* ---- pairs ---- */

static bool measure_genuine(const struct gx_people_sample *g, const size_t *first, size_t n_persons,
                            struct gx_people_stats *out)
{
    double *v = malloc((g->n * (GENUINE_PHOTOS - 1) / 2 + 1) * sizeof *v);
    if (v == NULL)
        return false;
    size_t n = 0;
    for (size_t p = 0; p < n_persons; p++) {
        size_t end = first[p + 1] - first[p] > GENUINE_PHOTOS ? first[p] + GENUINE_PHOTOS : first[p + 1];
        for (size_t i = first[p]; i < end; i++)
            for (size_t j = i + 1; j < end; j++)
                v[n++] = (double)dot(g->rows + i * g->dim, g->rows + j * g->dim, g->dim);
    }
    out->genuine_pairs = n;
    moments(v, n, &out->genuine_mean, &out->genuine_sd);
    out->genuine_low = quantile(v, n, 0.001);
    free(v);
    return true;
}

static bool measure_impostor(const struct gx_people_sample *g, struct gx_people_stats *out)
{
    double *v = malloc(IMPOSTOR_PAIRS * sizeof *v);
    if (v == NULL)
        return false;
    uint64_t state = 88172645463325252u; /* Marsaglia's xorshift */
    size_t n = 0;
    for (size_t t = 0; t < IMPOSTOR_PAIRS; t++) {
        size_t pair[2];
        for (int k = 0; k < 2; k++) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            pair[k] = (size_t)((state >> 32) * g->n >> 32);
        }
        if (g->person[pair[0]] != g->person[pair[1]])
            v[n++] = (double)dot(g->rows + pair[0] * g->dim, g->rows + pair[1] * g->dim, g->dim);
    }
    moments(v, n, &out->impostor_mean, &out->impostor_sd);
    out->impostor_high = quantile(v, n, 0.9999);
    free(v);
    return true;
}

/* ---- spectrum ---- */

/* Householder's reduction of the symmetric matrix a[n][n] (lower half read, destroyed) to diagonal @d and
 * subdiagonal @e (e[i] joins i and i + 1). @u and @w: n doubles of scratch each. */
static void tridiagonalise(double *a, size_t n, double *d, double *e, double *u, double *w)
{
    for (size_t k = 0; k + 1 < n; k++) {
        size_t m = n - k - 1; /* size of the rest below and right of the diagonal element k */
        double *rest = a + (k + 1) * n + k + 1, norm = 0;
        d[k] = a[k * n + k];
        for (size_t i = 0; i < m; i++) {
            u[i] = a[(k + 1 + i) * n + k];
            norm += u[i] * u[i];
        }
        norm = sqrt(norm);
        e[k] = u[0] > 0 ? -norm : norm;
        u[0] -= e[k];
        double h = norm * norm - (u[0] + e[k]) * e[k]; /* |u|^2 / 2 */
        if (h <= 0)
            continue;
        memset(w, 0, m * sizeof *w);
        for (size_t i = 0; i < m; i++) { /* w = rest * u from the lower half */
            double s = 0;
            for (size_t j = 0; j < i; j++)
                s += rest[i * n + j] * u[j];
            w[i] += s + rest[i * n + i] * u[i];
            add_scaled(w, u[i], rest + i * n, i);
        }
        double uw = 0;
        for (size_t i = 0; i < m; i++)
            uw += u[i] * (w[i] /= h);
        add_scaled(w, -uw / (2 * h), u, m);
        for (size_t i = 0; i < m; i++) { /* rest -= u w' + w u' */
            add_scaled(rest + i * n, -u[i], w, i + 1);
            add_scaled(rest + i * n, -w[i], u, i + 1);
        }
    }
    d[n - 1] = a[(n - 1) * n + n - 1];
    e[n - 1] = 0;
}

/* Eigenvalues of a symmetric tridiagonal matrix into @d, unordered, by QL with implicit shifts; @e is destroyed. */
static void diagonalise(double *d, double *e, size_t n)
{
    for (size_t l = 0; l < n; l++)
        for (int round = 0; round < 60; round++) {
            size_t m = l;
            while (m + 1 < n && fabs(e[m]) > 1e-14 * (fabs(d[m]) + fabs(d[m + 1])))
                m++;
            if (m == l)
                break;
            double g = (d[l + 1] - d[l]) / (2 * e[l]);
            g = d[m] - d[l] + e[l] / (g + copysign(hypot(g, 1), g));
            double s = 1, c = 1, p = 0;
            size_t i = m;
            while (i-- > l) {
                double f = s * e[i], b = c * e[i], r = hypot(f, g);
                e[i + 1] = r;
                if (r <= 0) {
                    d[i + 1] -= p;
                    e[m] = 0;
                    break;
                }
                s = f / r;
                c = g / r;
                g = d[i + 1] - p;
                r = (d[i] - g) * s + 2 * c * b;
                p = s * r;
                d[i + 1] = g + p;
                g = c * r - b;
            }
            if (i + 1 > l) /* broken off */
                continue;
            d[l] -= p;
            e[l] = g;
            e[m] = 0;
        }
}

/* Lower half of the covariance of the persons' mean vectors, times a constant. */
static void covariance(const struct gx_people_sample *g, const size_t *first, size_t n_persons, double *cov,
                       double *centre, double *mean)
{
    size_t dim = g->dim;
    memset(cov, 0, dim * dim * sizeof *cov);
    memset(centre, 0, dim * sizeof *centre);
    for (int pass = 0; pass < 2; pass++)
        for (size_t p = 0; p < n_persons; p++) {
            double f = 1 / (double)(first[p + 1] - first[p]);
            for (size_t k = 0; k < dim; k++)
                mean[k] = pass == 0 ? 0 : -centre[k];
            for (size_t i = first[p]; i < first[p + 1]; i++)
                for (size_t k = 0; k < dim; k++)
                    mean[k] += f * (double)g->rows[i * dim + k];
            if (pass == 0)
                add_scaled(centre, 1 / (double)n_persons, mean, dim);
            else
                for (size_t k = 0; k < dim; k++)
                    add_scaled(cov + k * dim, mean[k], mean, k + 1);
        }
}

static bool measure_spectrum(const struct gx_people_sample *g, const size_t *first, size_t n_persons,
                             struct gx_people_stats *out)
{
    size_t dim = g->dim;
    double *cov = malloc(dim * dim * sizeof *cov), *four = malloc(4 * dim * sizeof *four);
    bool ok = cov != NULL && four != NULL;
    if (ok) {
        double *value = four, *sub = four + dim, *u = four + 2 * dim, *w = four + 3 * dim;
        covariance(g, first, n_persons, cov, u, w);
        tridiagonalise(cov, dim, value, sub, u, w);
        diagonalise(value, sub, dim);
        qsort(value, dim, sizeof *value, compare_doubles);
        double total = 0, sum = 0;
        for (size_t i = 0; i < dim; i++)
            total += value[i];
        size_t n = 0;
        while (n < dim && sum < 0.9 * total)
            sum += value[dim - ++n];
        out->components_90 = n;
    }
    free(cov);
    free(four);
    return ok;
}

/* ---- neighbourhoods ---- */

/* Cosines of @n_queries <= BATCH queries with rows picked by @which (NULL: all), into out[query][row]. */
static void score(const struct gx_people_sample *g, const size_t *which, size_t n, const float *const *query,
                  size_t n_queries, float *out)
{
    for (size_t i = 0; i < n; i++)
        for (size_t q = 0; q < n_queries; q++)
            out[q * n + i] = dot(query[q], g->rows + (which != NULL ? which[i] : i) * g->dim, g->dim);
}

/* Sum of log(distance of the 20th / distance of the i-th nearest) for one row, itself left out. */
static double log_ratios(const float *cosine, size_t n, size_t self)
{
    double best[NEIGHBOURS]; /* cosines, falling */
    size_t held = 0;
    for (size_t i = 0; i < n; i++) {
        double c = (double)cosine[i];
        if (i == self || (held == NEIGHBOURS && c <= best[NEIGHBOURS - 1]))
            continue;
        size_t at = held < NEIGHBOURS ? held++ : NEIGHBOURS - 1;
        for (; at > 0 && best[at - 1] < c; at--)
            best[at] = best[at - 1];
        best[at] = c;
    }
    double sum = 0, far2 = fmax(2 - 2 * best[NEIGHBOURS - 1], 1e-12);
    for (size_t i = 0; i + 1 < NEIGHBOURS; i++)
        sum += 0.5 * log(far2 / fmax(2 - 2 * best[i], 1e-12));
    return sum;
}

static bool measure_lid(const struct gx_people_sample *g, const size_t *which, size_t n, size_t n_queries, double *out)
{
    *out = NAN;
    if (n <= NEIGHBOURS)
        return true;
    n_queries = n_queries == 0 || n_queries > n ? n : n_queries;
    float *cosine = malloc(BATCH * n * sizeof *cosine);
    if (cosine == NULL)
        return false;
    double sum = 0;
    for (size_t q = 0; q < n_queries; q += BATCH) {
        const float *query[BATCH];
        size_t self[BATCH], m = n_queries - q < BATCH ? n_queries - q : BATCH;
        for (size_t i = 0; i < m; i++) {
            self[i] = (q + i) * n / n_queries;
            query[i] = g->rows + (which != NULL ? which[self[i]] : self[i]) * g->dim;
        }
        score(g, which, n, query, m, cosine);
        for (size_t i = 0; i < m; i++)
            sum += log_ratios(cosine + i * n, n, self[i]);
    }
    *out = (NEIGHBOURS - 2) * (double)n_queries / sum;
    free(cosine);
    return true;
}

/* What probes found so far: growing arrays in one block, and counts. */
struct found {
    double *mate, *stranger, *unmated;
    size_t n_mated, n_unmated, first, in_50;
};

static void look_up(const struct gx_people_sample *g, const float *cosine, uint64_t person, struct found *f)
{
    float mate = -2, stranger = -2;
    for (size_t i = 0; i < g->n; i++) {
        float *best = g->person[i] == person ? &mate : &stranger;
        *best = cosine[i] > *best ? cosine[i] : *best;
    }
    if (mate < -1.5f) {
        f->unmated[f->n_unmated++] = (double)stranger;
        return;
    }
    size_t before = 0;
    for (size_t i = 0; i < g->n; i++)
        before += g->person[i] != person && cosine[i] > mate;
    f->mate[f->n_mated] = (double)mate;
    f->stranger[f->n_mated++] = (double)stranger;
    f->first += before == 0;
    f->in_50 += before < 50;
}

static bool measure_probes(const struct gx_people_sample *g, const struct gx_people_sample *probes, size_t n_queries,
                           struct gx_people_stats *out)
{
    size_t n = n_queries == 0 || n_queries > probes->n ? probes->n : n_queries;
    float *cosine = malloc((BATCH * g->n + 1) * sizeof *cosine);
    double *found = malloc((3 * n + 1) * sizeof *found);
    bool ok = cosine != NULL && found != NULL;
    if (ok) {
        struct found f = {.mate = found, .stranger = found + n, .unmated = found + 2 * n};
        for (size_t q = 0; q < n; q += BATCH) {
            const float *query[BATCH];
            size_t m = n - q < BATCH ? n - q : BATCH;
            for (size_t i = 0; i < m; i++)
                query[i] = probes->rows + (q + i) * probes->n / n * g->dim;
            score(g, NULL, g->n, query, m, cosine);
            for (size_t i = 0; i < m; i++)
                look_up(g, cosine + i * g->n, probes->person[(q + i) * probes->n / n], &f);
        }
        out->probes = n;
        out->mated = (double)f.n_mated / (double)n;
        out->mate_median = quantile(f.mate, f.n_mated, 0.5);
        out->stranger_median = quantile(f.stranger, f.n_mated, 0.5);
        out->unmated_median = quantile(f.unmated, f.n_unmated, 0.5);
        out->rank_1 = (double)f.first / (double)f.n_mated;
        out->rank_50 = (double)f.in_50 / (double)f.n_mated;
    }
    free(cosine);
    free(found);
    return ok;
}

bool gx_people_stats_measure(const struct gx_people_sample *gallery, const struct gx_people_sample *probes,
                             size_t n_queries, struct gx_people_stats *out)
{
    memset(out, 0, sizeof *out);
    size_t *first = malloc((gallery->n + 1) * sizeof *first), n_persons = 0;
    if (first == NULL)
        return false;
    for (size_t i = 0; i < gallery->n; i++)
        if (i == 0 || gallery->person[i] != gallery->person[i - 1])
            first[n_persons++] = i;
    first[n_persons] = gallery->n;
    out->photos = (double)gallery->n / (double)n_persons;
    bool ok = measure_genuine(gallery, first, n_persons, out) && measure_impostor(gallery, out) &&
              measure_spectrum(gallery, first, n_persons, out) &&
              measure_lid(gallery, first, n_persons, n_queries, &out->lid_one) &&
              measure_lid(gallery, NULL, gallery->n, n_queries, &out->lid_all) &&
              (probes == NULL || measure_probes(gallery, probes, n_queries, out));
    free(first);
    return ok;
}
