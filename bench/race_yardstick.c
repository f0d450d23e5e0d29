/* What the memory of this machine gives one thread, by loops that do nothing but read. */
#include "race.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define BYTES      ((size_t)1 << 30) /* read at a time: far beyond every cache */
#define HUGE_PAGE  ((size_t)2 << 20)
#define ROUNDS     5
#define BLOCK_LEN  512 /* bytes: an int8 row of 512 dimensions */
#define RANDOM_MAX ((size_t)1 << 20)

typedef uint64_t lanes __attribute__((vector_size(32)));

/* The sum is returned, or the compiler would drop the reading. Four sums, so that none waits for another. */
#define READ_LOOP                                                                                                      \
    {                                                                                                                  \
        lanes a = {0}, b = {0}, c = {0}, d = {0};                                                                      \
        for (size_t i = 0; i < n; i += 4) {                                                                            \
            a ^= at[i];                                                                                                \
            b ^= at[i + 1];                                                                                            \
            c ^= at[i + 2];                                                                                            \
            d ^= at[i + 3];                                                                                            \
        }                                                                                                              \
        a ^= b ^ c ^ d;                                                                                                \
        return a[0] ^ a[1] ^ a[2] ^ a[3];                                                                              \
    }

#if defined(__x86_64__)
__attribute__((target("avx2"), noinline)) static uint64_t read_avx2(const lanes *at, size_t n) READ_LOOP
#endif
    __attribute__((noinline)) static uint64_t read_plain(const lanes *at, size_t n) READ_LOOP

    typedef uint64_t read_loop(const lanes *at, size_t n);

static read_loop *best_loop(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2"))
        return read_avx2;
#endif
    return read_plain;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Nanoseconds for a block of BLOCK_LEN bytes anywhere, when many may be on their way at once. */
static double random_block_ns(read_loop *loop, const uint8_t *memory, uint64_t *sink)
{
    uint64_t state = 1;
    double start = gx_race_thread_us();
    for (size_t i = 0; i < RANDOM_MAX; i++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        size_t block = (size_t)(state >> 33) % (BYTES / BLOCK_LEN);
        *sink += loop((const lanes *)(const void *)(memory + block * BLOCK_LEN), BLOCK_LEN / sizeof(lanes));
    }
    return (gx_race_thread_us() - start) * 1e3 / (double)RANDOM_MAX;
}

double gx_race_yardstick(const struct gx_race *race, const char *when)
{
    const struct gx_measure *m = &race->measure;
    read_loop *loop = best_loop();
    double gb_per_s[ROUNDS], block_ns[ROUNDS];
    volatile uint64_t kept;
    uint64_t sink = 0;
    uint8_t *memory = mmap(NULL, BYTES + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        gx_measure_die(m, "memory", "none for the yardstick");
    uint8_t *start = memory + (HUGE_PAGE - (uintptr_t)memory % HUGE_PAGE) % HUGE_PAGE;
    madvise(start, BYTES, MADV_HUGEPAGE);
    memset(start, 1, BYTES);
    for (size_t i = 0; i < ROUNDS; i++) {
        double began = gx_race_thread_us();
        sink += loop((const lanes *)(const void *)start, BYTES / sizeof(lanes));
        gb_per_s[i] = (double)BYTES / 1e3 / (gx_race_thread_us() - began);
        block_ns[i] = random_block_ns(loop, start, &sink);
    }
    kept = sink;
    (void)kept;
    munmap(memory, BYTES + HUGE_PAGE);
    qsort(gb_per_s, ROUNDS, sizeof(*gb_per_s), compare_doubles);
    qsort(block_ns, ROUNDS, sizeof(*block_ns), compare_doubles);
    fprintf(stderr, "race_yardstick %s: read %.1f GB/s (best %.1f), a random block of %d bytes %.0f ns\n", when,
            gb_per_s[ROUNDS / 2], gb_per_s[ROUNDS - 1], BLOCK_LEN, block_ns[ROUNDS / 2]);
    gx_measure_report(m, "race_yardstick",
                      json_pack("{s:s, s:s, s:f, s:f, s:i, s:f}", "engine", "none", "when", when, "read_gb_per_s",
                                gb_per_s[ROUNDS / 2], "best_read_gb_per_s", gb_per_s[ROUNDS - 1], "random_block_bytes",
                                BLOCK_LEN, "random_block_ns", block_ns[ROUNDS / 2]));
    return gb_per_s[ROUNDS / 2];
}

static uint64_t kib_of(const char *line, const char *field)
{
    size_t n = strlen(field);
    return strncmp(line, field, n) == 0 ? strtoull(line + n, NULL, 10) : 0;
}

struct gx_race_memory gx_race_memory_now(void)
{
    struct gx_race_memory memory = {0};
    char line[256];
    FILE *f = fopen("/proc/self/smaps_rollup", "re");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        memory.resident += kib_of(line, "Rss:") * 1024;
        memory.huge += kib_of(line, "AnonHugePages:") * 1024;
    }
    if (f != NULL)
        fclose(f);
    return memory;
}
