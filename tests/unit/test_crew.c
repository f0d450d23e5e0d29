/* Promises of crew.h. */
#include "crew.h"

#include <pthread.h>
#include <stdatomic.h>

#include "suite.h"

#define PARTS   500
#define CORES   4
#define CALLERS 6

static struct gx_err err;

struct piece {
    atomic_uint done[PARTS];                /* how often each part was */
    atomic_uint inside[GX_CREW_MAX];        /* who is at work as that member now */
    atomic_uint mixed;                      /* two at a time were the same member */
    atomic_uint_least64_t sum[GX_CREW_MAX]; /* what each member did */
};

static void work(void *arg, size_t member, size_t part)
{
    struct piece *p = arg;
    if (atomic_fetch_add(&p->inside[member], 1) != 0)
        atomic_fetch_add(&p->mixed, 1);
    atomic_fetch_add(&p->done[part], 1);
    atomic_fetch_add(&p->sum[member], part);
    atomic_fetch_sub(&p->inside[member], 1);
}

static void check_done(struct piece *p, size_t n_parts)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < PARTS; i++)
        ck_assert_uint_eq(atomic_load(&p->done[i]), i < n_parts);
    for (size_t m = 0; m < GX_CREW_MAX; m++) {
        ck_assert(m < gx_crew_members() || atomic_load(&p->sum[m]) == 0);
        sum += atomic_load(&p->sum[m]);
    }
    ck_assert_uint_eq(sum, n_parts == 0 ? 0 : n_parts * (n_parts - 1) / 2);
    ck_assert_uint_eq(atomic_load(&p->mixed), 0);
}

START_TEST(without_a_crew_the_caller_does_everything)
{
    static struct piece p;
    ck_assert_uint_eq(gx_crew_members(), 1);
    gx_crew_run(work, &p, PARTS);
    check_done(&p, PARTS);
}
END_TEST

static void *call(void *arg)
{
    for (int turn = 0; turn < 50; turn++) {
        struct piece p = {0};
        size_t n_parts = (size_t)(turn * 37) % PARTS;
        gx_crew_run(work, &p, n_parts);
        check_done(&p, n_parts);
    }
    return arg;
}

START_TEST(every_part_is_done_once_and_no_two_at_a_time_are_the_same_member)
{
    pthread_t callers[CALLERS];
    ck_assert_int_eq(gx_crew_start(CORES, &err), GX_OK);
    ck_assert_uint_eq(gx_crew_members(), CORES);
    (void)call(NULL);
    for (size_t i = 0; i < CALLERS; i++)
        ck_assert_int_eq(pthread_create(&callers[i], NULL, call, NULL), 0);
    for (size_t i = 0; i < CALLERS; i++)
        ck_assert_int_eq(pthread_join(callers[i], NULL), 0);
    gx_crew_stop();
    ck_assert_uint_eq(gx_crew_members(), 1);
}
END_TEST

/* Ends only when all members that there may be are at work. */
static void wait_for_all(void *arg, size_t member, size_t part)
{
    atomic_uint *n = arg;
    (void)member;
    (void)part;
    atomic_fetch_add(n, 1);
    while (atomic_load(n) < CORES)
        sched_yield();
}

START_TEST(idle_cores_help)
{
    atomic_uint n = 0;
    ck_assert_int_eq(gx_crew_start(CORES, &err), GX_OK);
    gx_crew_run(wait_for_all, &n, CORES); /* Check's timeout ends a wait in vain */
    ck_assert_uint_eq(atomic_load(&n), CORES);
    gx_crew_stop();
}
END_TEST

START_TEST(idle_cores_help_aside)
{
    atomic_uint n = 0;
    ck_assert_int_eq(gx_crew_start(CORES, &err), GX_OK);
    gx_crew_run_aside(wait_for_all, &n, CORES);
    ck_assert_uint_eq(atomic_load(&n), CORES);
    gx_crew_stop();
}
END_TEST

struct long_work {
    atomic_uint n_helped; /* parts that helpers did */
    atomic_bool began, ended;
};

/* The caller's first part goes on until the end; a helper's is short, but there are too many for it. */
static void be_long(void *arg, size_t member, size_t part)
{
    struct long_work *w = arg;
    (void)part;
    atomic_store(&w->began, true);
    if (member > 0)
        atomic_fetch_add(&w->n_helped, 1);
    for (int i = 0; !atomic_load(&w->ended) && (member == 0 || i < 20); i++)
        sched_yield();
}

static void *run_aside(void *arg)
{
    gx_crew_run_aside(be_long, arg, (size_t)10 << 20);
    return NULL;
}

static void wait_for_help(struct long_work *w)
{
    unsigned before = atomic_load(&w->n_helped);
    while (atomic_load(&w->n_helped) == before)
        sched_yield();
}

static void wait_for_two(void *arg, size_t member, size_t part)
{
    atomic_uint *n = arg;
    (void)member;
    (void)part;
    atomic_fetch_add(n, 1);
    while (atomic_load(n) < 2)
        sched_yield();
}

START_TEST(who_helps_aside_leaves_for_others_and_comes_back)
{
    struct long_work w = {0};
    pthread_t thread;
    ck_assert_int_eq(gx_crew_start(2, &err), GX_OK); /* one helper */
    ck_assert_int_eq(pthread_create(&thread, NULL, run_aside, &w), 0);
    for (int turn = 0; turn < 5; turn++) {
        atomic_uint n = 0;
        wait_for_help(&w);
        gx_crew_run(wait_for_two, &n, 2); /* ends only with the helper */
    }
    wait_for_help(&w);
    atomic_store(&w.ended, true);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    gx_crew_stop();
}
END_TEST

struct held_work {
    atomic_uint n_held;
    atomic_bool let_go;
};

static void hold_caller(void *arg, size_t member, size_t part)
{
    struct held_work *w = arg;
    (void)part;
    if (member == 0)
        atomic_fetch_add(&w->n_held, 1);
    while (member == 0 && !atomic_load(&w->let_go))
        sched_yield();
}

static void *run_held(void *arg)
{
    gx_crew_run(hold_caller, arg, 2);
    return NULL;
}

START_TEST(work_aside_that_began_while_all_cores_were_busy_gets_help_when_they_are_not)
{
    struct long_work aside = {0};
    struct held_work held = {0};
    pthread_t callers[2], thread;
    ck_assert_int_eq(gx_crew_start(2, &err), GX_OK);
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_int_eq(pthread_create(&callers[i], NULL, run_held, &held), 0);
        while (atomic_load(&held.n_held) <= i)
            sched_yield();
    }
    ck_assert_int_eq(pthread_create(&thread, NULL, run_aside, &aside), 0);
    while (!atomic_load(&aside.began))
        sched_yield();
    atomic_store(&held.let_go, true);
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_join(callers[i], NULL), 0);
    wait_for_help(&aside);
    atomic_store(&aside.ended, true);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    gx_crew_stop();
}
END_TEST

START_TEST(one_core_has_no_helpers)
{
    static struct piece p;
    ck_assert_int_eq(gx_crew_start(1, &err), GX_OK);
    ck_assert_uint_eq(gx_crew_members(), 1);
    gx_crew_run(work, &p, PARTS);
    check_done(&p, PARTS);
    gx_crew_stop();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("crew");
    TCase *tc = tcase_create("crew");
    tcase_add_test(tc, without_a_crew_the_caller_does_everything);
    tcase_add_test(tc, every_part_is_done_once_and_no_two_at_a_time_are_the_same_member);
    tcase_add_test(tc, idle_cores_help);
    tcase_add_test(tc, idle_cores_help_aside);
    tcase_add_test(tc, who_helps_aside_leaves_for_others_and_comes_back);
    tcase_add_test(tc, work_aside_that_began_while_all_cores_were_busy_gets_help_when_they_are_not);
    tcase_add_test(tc, one_core_has_no_helpers);
    suite_add_tcase(suite, tc);
    return gx_suite_run(suite);
}
