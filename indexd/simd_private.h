/* Shared by simd.c and simd_codes.c: for which processors a kernel is compiled. */
#ifndef GX_SIMD_PRIVATE_H
#define GX_SIMD_PRIVATE_H

#include "simd.h"

#if defined(__FAST_MATH__)
#error "do not compile with -ffast-math: it reorders sums"
#endif

/* For kernels that read, and ignore, what another thread may be writing. */
#define GX_NO_TSAN __attribute__((no_sanitize("thread")))

#if defined(__x86_64__)
#define GX_SIMD_X86    1
#define TARGET_CRC     __attribute__((target("sse4.2")))
#define TARGET_AVX2    __attribute__((target("avx2,fma")))
#define TARGET_AVX512  __attribute__((target("avx512f,avx2,fma")))
#define TARGET_VNNI512 __attribute__((target("avx512f,avx512bw,avx512vnni,avx2,fma")))
#endif

#endif
