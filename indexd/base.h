/* Attributes and arithmetic that every floor uses. System headers only. */
#ifndef GX_BASE_H
#define GX_BASE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define GX_MUST         __attribute__((warn_unused_result))
#define GX_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define GX_COUNT_OF(a)  (sizeof(a) / sizeof((a)[0]))

/* Each argument is evaluated once: it may be a call whose answer changes. */
#define GX_MIN(a, b)          GX_PICK_(a, b, <, __COUNTER__)
#define GX_MAX(a, b)          GX_PICK_(a, b, >, __COUNTER__)
#define GX_PICK_(a, b, op, n) GX_PICK__(a, b, op, n)
#define GX_PICK__(a, b, op, n)                                                                                         \
    ({                                                                                                                 \
        __typeof__(a) a_##n = (a);                                                                                     \
        __typeof__(b) b_##n = (b);                                                                                     \
        a_##n op b_##n ? a_##n : b_##n;                                                                                \
    })

/* A piece of text or bytes that somebody else owns; not NUL-terminated. */
struct gx_slice {
    const uint8_t *data;
    size_t len;
};

static inline bool gx_slice_equal(struct gx_slice a, struct gx_slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* Order of bytes, shorter first on a common prefix: <0, 0, >0. */
static inline int gx_slice_compare(struct gx_slice a, struct gx_slice b)
{
    size_t n = GX_MIN(a.len, b.len);
    int c = n == 0 ? 0 : memcmp(a.data, b.data, n);
    return c != 0 ? c : (a.len > b.len) - (a.len < b.len);
}

static inline struct gx_slice gx_slice_text(const char *text)
{
    return (struct gx_slice){(const uint8_t *)text, strlen(text)};
}

#endif
