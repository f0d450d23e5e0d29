#include "numbered.h"

#include <check.h>
#include <stdio.h>

#define SEED 20251

float gx_numbered_value(uint64_t rno, size_t i)
{
    uint64_t x = (rno * 0x9e3779b97f4a7c15u) ^ ((i + SEED) * 0xbf58476d1ce4e5b9u);
    x ^= x >> 31;
    return (float)((double)(x % 20001) / 10000.0 - 1.0);
}

void gx_numbered_row(uint64_t rno, size_t dim, float *out)
{
    for (size_t i = 0; i < dim; i++)
        out[i] = gx_numbered_value(rno, i);
}

struct gx_rows *gx_numbered_new(size_t dim)
{
    struct gx_rows *rows;
    struct gx_err err;
    ck_assert_msg(gx_rows_new(dim, &rows, &err) == GX_OK, "%s", err.text);
    return rows;
}

enum gx_status gx_numbered_append_text(struct gx_rows *rows, uint64_t rno, const char *record, struct gx_err *err)
{
    float row[GX_DIM_MAX];
    gx_numbered_row(rno, gx_rows_dim(rows), row);
    struct gx_row columns = {.rno = rno, .captured_at_us = -(int64_t)rno, .record = gx_slice_text(record)};
    memset(columns.subject.bytes, (int)(rno & 0xff), GX_KEY_LEN);
    return gx_rows_append(rows, row, &columns, err);
}

static int record_text(uint64_t rno, char out[64])
{
    return snprintf(out, 64, "record of %llu", (unsigned long long)rno);
}

void gx_numbered_append(struct gx_rows *rows, uint64_t rno)
{
    char record[64];
    struct gx_err err;
    record_text(rno, record);
    if (gx_numbered_append_text(rows, rno, record, &err) != GX_OK)
        ck_abort_msg("row %llu: %s", (unsigned long long)rno, err.text);
}

struct gx_rows *gx_numbered_filled(size_t dim, uint64_t first, uint32_t n)
{
    struct gx_rows *rows = gx_numbered_new(dim);
    for (uint32_t i = 0; i < n; i++)
        gx_numbered_append(rows, first + i);
    gx_rows_publish(rows);
    return rows;
}

bool gx_numbered_is_right(const struct gx_rows *rows, uint32_t slot)
{
    struct gx_row got;
    char record[64];
    gx_rows_get(rows, slot, &got);
    int len = record_text(got.rno, record);
    const float *floats = gx_rows_floats(rows, slot);
    bool right = got.captured_at_us == -(int64_t)got.rno && got.subject.bytes[GX_KEY_LEN - 1] == (got.rno & 0xff) &&
                 got.record.len == (size_t)len && memcmp(got.record.data, record, got.record.len) == 0 &&
                 (uintptr_t)floats % 64 == 0;
    for (size_t i = 0; i < gx_rows_dim(rows); i++)
        right &= floats[i] == gx_numbered_value(got.rno, i);
    return right;
}
