/* The server is killed at random moments under load, again and again, on the same data directory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "load.h"

#define ROUNDS      200
#define ROUNDS_LONG 2000
#define SEED        20260117
#define MOST_MS     400
#define LEAST_MS    30
#define LONG_EVERY  6     /* of so many rounds one goes on until another ticket is VERIFIED, */
#define LONG_MS     60000 /* which may take this long */

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
    (void)strcpy(served.server.settings, GX_SERVED_NO_BALLAST);
    gx_server_start(&served.server);
    gx_load_create(&served, gx_served_flat_only() ? "flat" : "faiss:IVF16,SQ8");
    for (int round = 0; round < rounds; round++) {
        uint64_t ms = LEAST_MS + gx_load_random(&random) % (MOST_MS - LEAST_MS);
        pid_t child = gx_load_begin(load, &served, random);
        uint64_t verified = atomic_load(&load->n_verified);
        for (int i = 0; round % LONG_EVERY == 0 && i < LONG_MS && atomic_load(&load->n_verified) == verified; i++)
            wait_ms(1);
        wait_ms(ms);
        gx_server_kill(&served.server);
        gx_load_end(child);
        gx_load_check_files(load, &served, false);
        gx_server_start(&served.server);
        gx_load_check(load, &served, random, round + 1 == rounds);
    }
    gx_load_check_tickets(load, &served);
    printf("%d rounds: %llu batches and %llu expungements acknowledged, %llu seen VERIFIED, %llu searches\n", rounds,
           (unsigned long long)atomic_load(&load->n_inserted), (unsigned long long)atomic_load(&load->n_expunged),
           (unsigned long long)atomic_load(&load->n_verified), (unsigned long long)atomic_load(&load->n_searches));
    ck_assert_uint_gt(atomic_load(&load->n_inserted), (uint64_t)rounds);
    ck_assert_uint_gt(atomic_load(&load->n_expunged), (uint64_t)rounds);
    ck_assert_uint_gt(atomic_load(&load->n_verified), (uint64_t)rounds / LONG_EVERY);
    gx_server_stop(&served.server);
    gx_load_check_files(load, &served, true);
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
