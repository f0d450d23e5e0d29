/* The server is killed at random moments under load, again and again, on the same data directory. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "load.h"

#define ROUNDS      50
#define ROUNDS_LONG 1000
#define SEED        20260117
#define MOST_MS     400
#define LEAST_MS    30

static struct gx_served served;

static void wait_ms(uint64_t ms)
{
    struct timespec pause = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
    (void)nanosleep(&pause, NULL);
}

START_TEST(whatever_was_acknowledged_outlives_a_kill_at_any_moment)
{
    struct gx_load *load = gx_load_new();
    int rounds = getenv("INDEXD_TEST_LONG") == NULL ? ROUNDS : ROUNDS_LONG;
    uint64_t random = SEED;
    ck_assert(gx_people_init(&served.people, GX_SERVED_SEED, GX_LOAD_DIM, GX_SERVED_ROWS));
    gx_server_begin(&served.server);
    gx_server_start(&served.server);
    gx_load_create(&served, gx_served_flat_only() ? "flat" : "faiss:IVF16,SQ8");
    for (int round = 0; round < rounds; round++) {
        uint64_t ms = LEAST_MS + gx_load_random(&random) % (MOST_MS - LEAST_MS);
        pid_t child = gx_load_begin(load, &served, random);
        wait_ms(ms);
        gx_server_kill(&served.server);
        gx_load_end(child);
        gx_server_start(&served.server);
        gx_load_check(load, &served, random, round + 1 == rounds);
    }
    gx_load_check_tickets(&served);
    printf("%d rounds: %llu batches and %llu expungements acknowledged, %llu searches\n", rounds,
           (unsigned long long)atomic_load(&load->n_inserted), (unsigned long long)atomic_load(&load->n_expunged),
           (unsigned long long)atomic_load(&load->n_searches));
    ck_assert_uint_gt(atomic_load(&load->n_inserted), (uint64_t)rounds);
    ck_assert_uint_gt(atomic_load(&load->n_expunged), (uint64_t)rounds);
    gx_server_stop(&served.server);
    gx_server_start(&served.server);
    gx_load_check(load, &served, random, true);
    gx_served_end(&served);
}
END_TEST

int main(void)
{
    const struct gx_served_test tests[] = {{whatever_was_acknowledged_outlives_a_kill_at_any_moment, 0}};
    return gx_served_run("kill", tests, 1);
}
