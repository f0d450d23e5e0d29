#include "load.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORKERS     5
#define SAMPLE      25  /* old batches looked at by a check that is not of everything */
#define GET_AT_ONCE 200 /* batches */
#define AT_ONCE     20  /* batches that an inserter enrols as fast as it can; from then on it breathes */
#define REST        20

struct gx_load *gx_load_new(void)
{
    struct gx_load *load = mmap(NULL, sizeof(*load), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(load, MAP_FAILED);
    return load;
}

uint64_t gx_load_random(uint64_t *state)
{
    *state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* ---------------------------------------------------------------- children */

static pid_t begin_child(void)
{
    pid_t parent = getpid(), child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(0);
    }
    return child;
}

/* What went wrong was said by the child. */
static void end_child(pid_t child)
{
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    if (status != 0)
        _exit(EXIT_FAILURE);
}

void gx_load_create(struct gx_served *served, const char *engine)
{
    pid_t child = begin_child();
    if (child == 0) {
        gx_served_connect(served);
        gx_served_create(served, GX_LOAD_GALLERY, engine);
        _exit(0);
    }
    end_child(child);
}

/* ---------------------------------------------------------------- requests */

static void arrest_id(uint64_t batch, int half, char out[GX_PEOPLE_ID_MAX])
{
    (void)snprintf(out, GX_PEOPLE_ID_MAX, "A0000-%06llu-%d", (unsigned long long)batch, half);
}

static enum gx_status insert(gx_client *client, const struct gx_people *people, uint64_t batch)
{
    struct gx_served_batch b;
    char arrests[2][GX_PEOPLE_ID_MAX];
    gx_served_make_batch(people, batch * GX_LOAD_RECORDS, GX_LOAD_RECORDS, &b);
    for (int i = 0; i < GX_LOAD_RECORDS; i++) {
        arrest_id(batch, i / GX_LOAD_HALF, arrests[i / GX_LOAD_HALF]);
        b.records[i].arrest_id = arrests[i / GX_LOAD_HALF];
    }
    enum gx_status status =
        gx_client_insert(client, GX_LOAD_GALLERY, GX_SERVED_EMBEDDER, b.records, b.rows, b.n, GX_LOAD_DIM, NULL, NULL);
    gx_served_free_batch(&b);
    return status;
}

static enum gx_status expunge(gx_client *client, uint64_t batch, int half, struct gx_client_ticket *out)
{
    char id[GX_PEOPLE_ID_MAX];
    const char *ids[] = {id};
    arrest_id(batch, half, id);
    return gx_client_expunge(client, GX_LOAD_GALLERY, GX_CLIENT_ARREST, ids, 1, "order", GX_LOAD_HALF, false, NULL,
                             out);
}

static unsigned number_of(const struct gx_client_ticket *ticket)
{
    unsigned long number = strtoul(ticket->ticket_id + 2, NULL, 10);
    ck_assert(strncmp(ticket->ticket_id, "T-", 2) == 0 && number >= 1 && number <= GX_LOAD_TICKETS);
    return (unsigned)number;
}

/* ---------------------------------------------------------------- the load */

struct worker {
    struct gx_load *load;
    const struct gx_served *served;
    uint64_t seed;
};

/* The server may be gone at any time, and only that may end a call. */
static bool goes_on(enum gx_status status)
{
    ck_assert_msg(status == GX_OK || status == GX_E_UNAVAILABLE || status == GX_E_BUSY, "%d %s", (int)status,
                  gx_client_error());
    return status != GX_E_UNAVAILABLE;
}

/* A batch that is not there: one whose enrolment was lost, or a new one. */
static uint64_t claim_batch(struct gx_load *load, uint64_t *seed)
{
    uint64_t n = atomic_load(&load->n_batches);
    unsigned char none = GX_LOAD_NONE;
    if (n > 0) {
        uint64_t b = gx_load_random(seed) % n;
        if (atomic_compare_exchange_strong(&load->batches[b], &none, GX_LOAD_INSERTING))
            return b;
    }
    n = atomic_fetch_add(&load->n_batches, 1);
    ck_assert_uint_lt(n, GX_LOAD_MAX);
    atomic_store(&load->batches[n], GX_LOAD_INSERTING);
    return n;
}

static void *insert_on(void *arg)
{
    struct worker *w = arg;
    gx_client *client = gx_served_open_client(w->served, 0);
    enum gx_status status;
    unsigned n = 0;
    do {
        for (unsigned i = 0; n >= AT_ONCE && i < REST; i++)
            gx_served_breathe();
        n++;
        uint64_t b = claim_batch(w->load, &w->seed);
        status = insert(client, &w->served->people, b);
        if (status == GX_OK) {
            atomic_store(&w->load->batches[b], GX_LOAD_INSERTED);
            atomic_fetch_add(&w->load->n_inserted, 1);
        }
    } while (goes_on(status));
    return NULL;
}

static void *expunge_on(void *arg)
{
    struct worker *w = arg;
    gx_client *client = gx_served_open_client(w->served, 0);
    struct gx_client_ticket ticket;
    enum gx_status status = GX_OK;
    do {
        uint64_t n = atomic_load(&w->load->n_batches), random = gx_load_random(&w->seed);
        if (n == 0)
            continue;
        uint64_t b = random / 2 % n;
        int half = (int)(random % 2);
        if (atomic_load(&w->load->batches[b]) != GX_LOAD_INSERTED ||
            atomic_load(&w->load->arrests[b][half]) != GX_LOAD_KEPT) {
            gx_served_breathe();
            continue;
        }
        atomic_store(&w->load->arrests[b][half], GX_LOAD_EXPUNGING);
        status = expunge(client, b, half, &ticket);
        if (status == GX_OK) {
            atomic_store(&w->load->tickets[b][half], number_of(&ticket));
            atomic_store(&w->load->arrests[b][half], GX_LOAD_EXPUNGED);
            atomic_fetch_add(&w->load->n_expunged, 1);
        }
        for (unsigned i = 0; i < REST / 4; i++) /* more is enrolled than goes */
            gx_served_breathe();
    } while (goes_on(status));
    return NULL;
}

static void *search_on(void *arg)
{
    struct worker *w = arg;
    gx_client *client = gx_served_open_client(w->served, 0);
    static unsigned char before[GX_LOAD_MAX][2];
    enum gx_status status = GX_OK;
    do {
        struct gx_client_result *r;
        struct gx_client_search how = {.k = 50, .exact = gx_load_random(&w->seed) % 2 == 0};
        uint64_t n = atomic_load(&w->load->n_batches);
        for (uint64_t b = 0; b < n; b++)
            for (int half = 0; half < 2; half++)
                before[b][half] = atomic_load(&w->load->arrests[b][half]);
        uint64_t probe = gx_load_random(&w->seed) % (n * GX_LOAD_RECORDS + 1);
        status = gx_served_search(client, &w->served->people, GX_LOAD_GALLERY, probe, &how, &r);
        for (size_t i = 0; status == GX_OK && i < r->answers[0].n_candidates; i++) {
            uint64_t row = gx_served_row_of(r->answers[0].candidates[i].record_id);
            ck_assert_int_ne(before[row / GX_LOAD_RECORDS][row % GX_LOAD_RECORDS / GX_LOAD_HALF], GX_LOAD_EXPUNGED);
        }
        gx_client_result_free(r);
        atomic_fetch_add(&w->load->n_searches, 1);
    } while (goes_on(status));
    return NULL;
}

/* Takes down which tickets are VERIFIED, under which certificate: from then on that must never change. */
static void *watch_on(void *arg)
{
    struct worker *w = arg;
    gx_client *client = gx_served_open_client(w->served, 0);
    enum gx_status status;
    do {
        struct gx_client_tickets *page;
        status = gx_client_ticket_list(client, NULL, 100, NULL, &page);
        for (size_t i = 0; status == GX_OK && i < page->n_tickets; i++) {
            const struct gx_client_ticket *t = &page->tickets[i];
            ck_assert_int_ne(t->state, GX_CLIENT_TICKET_FAILED);
            uint64_t known = 0;
            if (t->state != GX_CLIENT_TICKET_VERIFIED)
                continue;
            ck_assert_uint_gt(t->certificate, 0);
            if (atomic_compare_exchange_strong(&w->load->certificates[number_of(t)], &known, t->certificate))
                atomic_fetch_add(&w->load->n_verified, 1);
            else
                ck_assert_uint_eq(known, t->certificate);
        }
        gx_client_tickets_free(page);
        gx_served_breathe();
    } while (goes_on(status));
    return NULL;
}

pid_t gx_load_begin(struct gx_load *load, struct gx_served *served, uint64_t seed)
{
    pid_t child = begin_child();
    if (child != 0)
        return child;
    static void *(*const work[WORKERS])(void *) = {insert_on, insert_on, expunge_on, search_on, watch_on};
    pthread_t threads[WORKERS];
    struct worker workers[WORKERS];
    for (size_t i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){load, served, seed * WORKERS + i};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, work[i], &workers[i]), 0);
    }
    for (size_t i = 0; i < WORKERS; i++)
        (void)pthread_join(threads[i], NULL);
    _exit(0);
}

void gx_load_end(pid_t child)
{
    end_child(child);
}

/* ---------------------------------------------------------------- checks */

/* Which records of batches [first, first + n) are there; their embeddings are checked on the way. */
static void look_up(struct gx_served *served, uint64_t first, size_t n, bool out_there[][GX_LOAD_RECORDS])
{
    static char ids[GET_AT_ONCE * GX_LOAD_RECORDS][GX_PEOPLE_ID_MAX];
    const char *list[GET_AT_ONCE * GX_LOAD_RECORDS];
    struct gx_client_records *found;
    for (size_t i = 0; i < n * GX_LOAD_RECORDS; i++) {
        gx_people_record_id(first * GX_LOAD_RECORDS + i, ids[i]);
        list[i] = ids[i];
    }
    memset(out_there, 0, n * GX_LOAD_RECORDS * sizeof(bool));
    gx_served_ok(gx_client_record_get(served->client, GX_LOAD_GALLERY, list, n * GX_LOAD_RECORDS, true, &found));
    for (size_t i = 0; i < found->n_records; i++) {
        float expected[GX_LOAD_DIM];
        uint64_t row = gx_served_row_of(found->records[i].record.record_id);
        ck_assert(row >= first * GX_LOAD_RECORDS && row < (first + n) * GX_LOAD_RECORDS);
        gx_people_row(&served->people, row, expected, NULL);
        for (size_t j = 0; j < GX_LOAD_DIM; j++)
            ck_assert(fabsf(expected[j] - found->records[i].embedding[j]) < 1e-6f);
        out_there[row / GX_LOAD_RECORDS - first][row % GX_LOAD_RECORDS] = true;
    }
    gx_client_records_free(found);
}

static bool is_found(struct gx_served *served, uint64_t row)
{
    struct gx_client_search how = {.k = 20, .exact = row % 2 == 0, .tuning = {.has_effort = row % 2 != 0, .effort = 1}};
    struct gx_client_result *r;
    bool found = false;
    gx_served_ok(gx_served_search(served->client, &served->people, GX_LOAD_GALLERY, row, &how, &r));
    for (size_t i = 0; i < r->answers[0].n_candidates; i++)
        found = found || gx_served_row_of(r->answers[0].candidates[i].record_id) == row;
    gx_client_result_free(r);
    return found;
}

/* One arrest of a batch: all of its records or none; @inserted says whether the batch was decided to be there. */
static void settle_arrest(struct gx_load *load, uint64_t b, int half, const bool *there)
{
    bool is_there = there[half * GX_LOAD_HALF];
    for (int i = 1; i < GX_LOAD_HALF; i++)
        ck_assert_msg(there[half * GX_LOAD_HALF + i] == is_there, "batch %d: half an arrest", (int)b);
    unsigned char state = atomic_load(&load->arrests[b][half]);
    ck_assert_msg(state != GX_LOAD_EXPUNGED || !is_there, "batch %d: an acknowledged expungement is undone", (int)b);
    ck_assert_msg(state != GX_LOAD_KEPT || is_there, "batch %d: an acknowledged enrolment is lost", (int)b);
    if (state == GX_LOAD_EXPUNGING)
        atomic_store(&load->arrests[b][half], is_there ? GX_LOAD_KEPT : GX_LOAD_EXPUNGED);
}

/* Checks a batch, and settles what was pending by what is found. */
static void settle(struct gx_load *load, uint64_t b, const bool there[GX_LOAD_RECORDS])
{
    size_t n = 0;
    for (int i = 0; i < GX_LOAD_RECORDS; i++)
        n += there[i];
    unsigned char state = atomic_load(&load->batches[b]);
    if (state != GX_LOAD_INSERTED)
        ck_assert_msg(n == 0 || (n == GX_LOAD_RECORDS && state == GX_LOAD_INSERTING), "batch %d: %zu records, state %d",
                      (int)b, n, state);
    if (state == GX_LOAD_INSERTING)
        atomic_store(&load->batches[b], n == 0 ? GX_LOAD_NONE : GX_LOAD_INSERTED);
    if (atomic_load(&load->batches[b]) != GX_LOAD_INSERTED)
        return;
    for (int half = 0; half < 2; half++)
        settle_arrest(load, b, half, there);
}

/* What a search says of a batch; and expunged arrests can't be enrolled again. */
static void check_searches(struct gx_load *load, struct gx_served *served, uint64_t b)
{
    if (atomic_load(&load->batches[b]) != GX_LOAD_INSERTED)
        return;
    bool gone = false;
    for (int i = 0; i < GX_LOAD_RECORDS; i++) {
        bool expunged = atomic_load(&load->arrests[b][i / GX_LOAD_HALF]) == GX_LOAD_EXPUNGED;
        ck_assert_msg(is_found(served, b * GX_LOAD_RECORDS + (uint64_t)i) == !expunged, "batch %d, record %d", (int)b,
                      i);
        gone = gone || expunged;
    }
    if (gone)
        ck_assert_int_eq(insert(served->client, &served->people, b), GX_E_EXPUNGED);
}

static void check_range(struct gx_load *load, struct gx_served *served, uint64_t first, uint64_t end)
{
    static bool there[GET_AT_ONCE][GX_LOAD_RECORDS];
    for (uint64_t b = first; b < end; b += GET_AT_ONCE) {
        size_t n = (size_t)(end - b < GET_AT_ONCE ? end - b : GET_AT_ONCE);
        look_up(served, b, n, there);
        for (size_t i = 0; i < n; i++)
            settle(load, b + i, there[i]);
    }
}

/* Batches that are pending, or hold a pending arrest. */
static bool is_pending(struct gx_load *load, uint64_t b)
{
    return atomic_load(&load->batches[b]) == GX_LOAD_INSERTING ||
           atomic_load(&load->arrests[b][0]) == GX_LOAD_EXPUNGING ||
           atomic_load(&load->arrests[b][1]) == GX_LOAD_EXPUNGING;
}

static uint64_t count_expected(struct gx_load *load)
{
    uint64_t records = 0, n = atomic_load(&load->n_batches);
    for (uint64_t b = 0; b < n; b++)
        for (int half = 0; half < 2; half++)
            if (atomic_load(&load->batches[b]) == GX_LOAD_INSERTED &&
                atomic_load(&load->arrests[b][half]) == GX_LOAD_KEPT)
                records += GX_LOAD_HALF;
    return records;
}

/* What was seen VERIFIED is so still, under the same certificate. */
static void check_verified(struct gx_load *load, struct gx_served *served)
{
    struct gx_client_tickets *page;
    char token[64] = "";
    do {
        gx_served_ok(gx_client_ticket_list(served->client, NULL, 1000, token, &page));
        for (size_t i = 0; i < page->n_tickets; i++) {
            uint64_t serial = atomic_load(&load->certificates[number_of(&page->tickets[i])]);
            ck_assert_msg(serial == 0 || page->tickets[i].certificate == serial, "%s was VERIFIED and is not any more",
                          page->tickets[i].ticket_id);
        }
        (void)snprintf(token, sizeof(token), "%s", page->next_page_token);
        gx_client_tickets_free(page);
    } while (token[0] != '\0');
}

static void check_all(struct gx_load *load, struct gx_served *served, uint64_t seed, bool all)
{
    uint64_t n = atomic_load(&load->n_batches), from = all ? 0 : atomic_load(&load->checked);
    gx_served_connect(served);
    for (uint64_t b = 0; b < from; b++)
        if (is_pending(load, b))
            check_range(load, served, b, b + 1);
    check_range(load, served, from, n);
    for (int i = 0; i < SAMPLE && n > 0; i++) {
        uint64_t b = gx_load_random(&seed) % n;
        check_range(load, served, b, b + 1);
        check_searches(load, served, b);
    }
    for (uint64_t b = n > 5 ? n - 5 : 0; b < n; b++)
        check_searches(load, served, b);
    check_verified(load, served);
    /* Nothing is there that nobody enrolled, and nothing but what was looked at is missing. */
    ck_assert_uint_eq(gx_served_records(served, GX_LOAD_GALLERY), count_expected(load));
    atomic_store(&load->checked, n);
}

void gx_load_check(struct gx_load *load, struct gx_served *served, uint64_t seed, bool all)
{
    pid_t child = begin_child();
    if (child == 0) {
        check_all(load, served, seed, all);
        _exit(0);
    }
    end_child(child);
}

static size_t count_open_tickets(struct gx_served *served, size_t *out_n)
{
    struct gx_client_tickets *page;
    char token[64] = "";
    size_t open = 0;
    *out_n = 0;
    do {
        gx_served_ok(gx_client_ticket_list(served->client, NULL, 1000, token, &page));
        for (size_t i = 0; i < page->n_tickets; i++)
            open += page->tickets[i].state != GX_CLIENT_TICKET_VERIFIED;
        *out_n += page->n_tickets;
        (void)snprintf(token, sizeof(token), "%s", page->next_page_token);
        gx_client_tickets_free(page);
    } while (token[0] != '\0');
    return open;
}

void gx_load_check_tickets(struct gx_load *load, struct gx_served *served)
{
    pid_t child = begin_child();
    if (child == 0) {
        struct gx_chain chain = {0};
        size_t n;
        gx_served_connect(served);
        gx_served_wait_until(count_open_tickets(served, &n) == 0);
        check_verified(load, served);
        gx_chain_collect(&chain, served);
        gx_chain_check(&chain, n);
        gx_chain_free(&chain);
        _exit(0);
    }
    end_child(child);
}
