/* Certificates from the store over the wire to the library and to indexctl. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "certificate.h"
#include "clock.h"
#include "file.h"
#include "indexd/client.h"
#include "receipt.h"
#include "room.h"
#include "routes.h"
#include "rpc_scene.h"
#include "temp.h"

static struct gx_room room;
static struct gx_app app;
static struct gx_rpc_scene scene;
static gx_client *client;

static void connect_client(void)
{
    struct gx_client_options options = {.server = gx_rpc_address(scene.server), .deadline_us = INT64_C(60000000)};
    ck_assert_int_eq(gx_client_open(&options, &client), GX_OK);
}

static void begin(void)
{
    struct gx_err err;
    size_t n_routes;
    const struct gx_route *routes = gx_routes_table(&n_routes);
    gx_room_begin(&room);
    gx_room_create(&room, "g", "flat");
    gx_room_fill(&room, "g", 50);
    gx_room_close(&room); /* so that what was written is in tables, which hold_up keeps */
    gx_room_open(&room);
    app.galleries = room.galleries;
    ck_assert_int_eq(gx_routes_begin(&app, &err), GX_OK);
    gx_rpc_scene_start(&scene, (struct gx_rpc_options){.n_workers = 2}, routes, n_routes, &app);
    connect_client();
}

static void end(void)
{
    gx_client_close(client);
    gx_rpc_scene_stop(&scene);
    gx_routes_end(&app);
    gx_room_end(&room);
}

/* No erasure comes to its end until that is ended. */
static struct gx_store_iter *hold_up(void)
{
    const struct gx_slice none = {NULL, 0};
    struct gx_store_iter *iter;
    struct gx_slice key, value;
    struct gx_err err;
    bool found;
    ck_assert_int_eq(gx_store_iter_begin(room.galleries->store, GX_CF_EMB, none, none, false, &iter, &err), GX_OK);
    ck_assert_int_eq(gx_store_iter_next(iter, &found, &key, &value, &err), GX_OK);
    return iter;
}

/* Expunges one record under an order; the number of its ticket. */
static uint64_t expunge(uint64_t row)
{
    struct gx_client_ticket ticket;
    struct gx_err err;
    uint64_t number;
    char id[GX_PEOPLE_ID_MAX];
    const char *ids[] = {id};
    gx_people_record_id(row, id);
    ck_assert_msg(gx_client_expunge(client, "g", GX_CLIENT_RECORD, ids, 1, "Order 4711/26", 1, false, NULL, &ticket) ==
                      GX_OK,
                  "%s", gx_client_error());
    ck_assert_int_eq(gx_expunge_ticket_number(gx_slice_text(ticket.ticket_id), &number, &err), GX_OK);
    return number;
}

static bool is_verified(uint64_t number)
{
    struct gx_ticket ticket;
    struct gx_err err;
    gx_arena_reset(&room.arena);
    ck_assert_int_eq(gx_expunge_ticket(room.galleries, number, &room.arena, &ticket, &err), GX_OK);
    return ticket.state == GX_TICKET_VERIFIED;
}

/* The certificate of one record, as it stands in the store. */
static struct gx_slice expunge_and_wait(uint64_t row)
{
    struct gx_slice certificate;
    struct gx_err err;
    uint64_t number = expunge(row);
    gx_room_wait_until(is_verified(number));
    ck_assert_int_eq(gx_certificate_get(room.galleries, number, &room.arena, &certificate, &err), GX_OK);
    return certificate;
}

/* Puts a certificate of the ticket into the store, in the way of an erase run that found nothing left. */
static struct gx_slice certify(struct gx_ticket ticket, uint64_t serial, const struct gx_digest *previous,
                               struct gx_digest *out_digest)
{
    struct gx_store_batch *batch;
    struct gx_slice certificate;
    struct gx_err err;
    const struct gx_key named = {"0123456789abcde"};
    int64_t now = gx_clock_wall_us();
    ticket.method = GX_TICKET_BYTES;
    ticket.unindexed_at_us = ticket.flushed_at_us = ticket.compacted_at_us = ticket.unlinked_at_us = now;
    ticket.erased_at_us = ticket.verified_at_us = now;
    ticket.attempts = ticket.control_hits = ticket.files_scanned = 1;
    ticket.certificate = serial;
    struct gx_receipt_in in = {.ticket = &ticket,
                               .store = room.galleries->uuid,
                               .previous = *previous,
                               .named = &named,
                               .n_named = 1,
                               .records = &named};
    ck_assert_msg(gx_receipt_make(&in, room.galleries->signer, &room.arena, &certificate, out_digest, &err) == GX_OK,
                  "%s", err.text);
    ck_assert_int_eq(gx_store_batch_new(room.galleries->store, &batch, &err), GX_OK);
    ck_assert_int_eq(gx_certificate_put(batch, ticket.number, certificate, &room.arena, &err), GX_OK);
    ck_assert_int_eq(gx_store_commit(room.galleries->store, batch, &err), GX_OK);
    gx_store_batch_free(batch);
    return certificate;
}

static void assert_no_certificate(const char *ticket, enum gx_status want, const char *says)
{
    void *bytes;
    size_t len;
    ck_assert_int_eq(gx_client_certificate_get(client, ticket, &bytes, &len, NULL), want);
    ck_assert(bytes == NULL && len == 0);
    ck_assert_msg(strstr(gx_client_error(), says) != NULL, "%s", gx_client_error());
}

START_TEST(ticket_without_a_certificate_says_why)
{
    begin();
    struct gx_store_iter *iter = hold_up();
    (void)expunge(1);
    assert_no_certificate("T-00000001", GX_E_STATE, "ACCEPTED still");
    assert_no_certificate("T-00000002", GX_E_NOT_FOUND, "no such ticket");
    assert_no_certificate("1", GX_E_INVALID, "T-00000042");
    assert_no_certificate("", GX_E_INVALID, "T-00000042");
    gx_store_iter_end(iter);
    end();
}
END_TEST

START_TEST(certificate_arrives_byte_by_byte_with_the_key_that_proves_it)
{
    void *bytes;
    size_t len;
    char *key, *key_alone;
    struct gx_client_certificate *c;
    begin();
    struct gx_slice made = expunge_and_wait(7);
    ck_assert_int_eq(gx_client_certificate_get(client, "T-00000001", &bytes, &len, &key), GX_OK);
    ck_assert(gx_slice_equal((struct gx_slice){bytes, len}, made));
    ck_assert_int_eq(gx_client_certificate_get(client, NULL, NULL, NULL, &key_alone), GX_OK);
    ck_assert_str_eq(key, key_alone);
    ck_assert_msg(gx_client_certificate_verify(bytes, len, key, strlen(key), &c) == GX_OK, "%s", gx_client_error());
    ck_assert_str_eq(c->ticket_id, "T-00000001");
    ck_assert_str_eq(c->order_ref, "Order 4711/26");
    ck_assert(c->checked && c->records == 1 && memmem(bytes, len, "photo-", 6) == NULL);
    gx_client_certificate_free(c);
    free(bytes);
    free(key);
    free(key_alone);
    end();
}
END_TEST

START_TEST(certificate_and_key_survive_a_restart)
{
    struct gx_slice read;
    struct gx_digest digest, none = {{0}};
    struct gx_err err;
    gx_room_begin(&room);
    gx_room_create(&room, "g", "flat");
    struct gx_ticket ticket = {.number = 9,
                               .kind = GX_ID_RECORD,
                               .gallery = gx_slice_text("g"),
                               .order_ref = gx_slice_text("o"),
                               .accepted_at_us = 1,
                               .n_records = 1};
    struct gx_slice made = certify(ticket, 1, &none, &digest);
    gx_room_close(&room);
    gx_room_open(&room);
    ck_assert_int_eq(gx_certificate_get(room.galleries, 9, &room.arena, &read, &err), GX_OK);
    ck_assert(gx_slice_equal(made, read));
    struct gx_slice key = gx_certificate_key(room.galleries);
    ck_assert_int_eq(gx_client_certificate_verify(read.data, read.len, key.data, key.len, NULL), GX_OK);
    gx_room_end(&room);
}
END_TEST

/* --- indexctl --- */

static char folder[64], printed[16384];

/* Runs indexctl in the folder; returns its exit status, and what it wrote in @printed. */
static int indexctl(const char *arguments)
{
    char command[1024];
    const char *program = getenv("INDEXCTL_BIN");
    ck_assert_ptr_nonnull(program);
    (void)snprintf(command, sizeof(command), "cd '%s' && '%s' --server %s %s >printed 2>&1", folder, program,
                   gx_rpc_address(scene.server), arguments);
    int status = system(command);
    ck_assert(WIFEXITED(status));
    (void)snprintf(command, sizeof(command), "%s/printed", folder);
    FILE *file = fopen(command, "re");
    ck_assert_ptr_nonnull(file);
    size_t len = fread(printed, 1, sizeof(printed) - 1, file);
    printed[len] = '\0';
    (void)fclose(file);
    return WEXITSTATUS(status);
}

static void expect(const char *arguments, enum gx_status status, const char *says)
{
    int got = indexctl(arguments);
    ck_assert_msg(got == (int)status && strstr(printed, says) != NULL, "%s: exit %d, %.300s", arguments, got, printed);
}

static void begin_folder(void)
{
    gx_temp_folder("indexctl", folder, sizeof(folder));
}

static void flip(const char *name, long at)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "r+e");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fseek(file, at, SEEK_SET), 0);
    int c = fgetc(file);
    ck_assert_int_eq(fseek(file, at, SEEK_SET), 0);
    ck_assert_int_ne(fputc(c ^ 1, file), EOF);
    ck_assert_int_eq(fclose(file), 0);
}

START_TEST(staff_fetch_check_and_print_certificates)
{
    begin();
    begin_folder();
    for (uint64_t i = 1; i <= 3; i++)
        (void)expunge_and_wait(10 + i);
    struct gx_store_iter *iter = hold_up();
    (void)expunge(20);
    expect("certificate get T-00000004", GX_E_STATE, "ACCEPTED still");
    expect("certificate show T-00000004", GX_E_STATE, "ACCEPTED still");
    gx_store_iter_end(iter);
    expect("certificate key --out certificate.pub", GX_OK, "");
    expect("certificate get T-00000001 --out 1", GX_OK, "");
    expect("certificate get T-00000002 --key certificate.pub -o 2", GX_OK, "");
    expect("certificate get T-00000003", GX_OK, "{\"signature\":\"");
    expect("certificate get T-00000003 --out 3", GX_OK, "");
    expect("certificate get T-00000005", GX_E_NOT_FOUND, "no such ticket");
    expect("certificate get T-00000001 --out nowhere/1", GX_E_IO, "nowhere/1");

    expect("certificate verify 1 --key certificate.pub", GX_OK, "1: good. Certificate 1, T-00000001, 1 record removed");
    expect("certificate verify 1 2 3 --key certificate.pub", GX_OK, "3: good. Certificate 3, T-00000003");
    expect("certificate verify 3 --previous 2 --key certificate.pub", GX_OK, "3: good");
    expect("certificate verify 1 3 --key certificate.pub", GX_E_CORRUPT, "3: certificate 3 does not follow");
    expect("certificate verify 2 1 --key certificate.pub", GX_E_CORRUPT, "1: certificate 1 does not follow");
    expect("certificate verify 3 --previous 1 --key certificate.pub", GX_E_CORRUPT, "does not follow");
    expect("certificate verify 1", GX_E_INVALID, "--key is missing");
    expect("certificate verify 4 --key certificate.pub", GX_E_NOT_FOUND, "cannot open 4");
    expect("certificate verify 1 --key 2", GX_E_INVALID, "no Ed25519 public key");
    expect("--json certificate verify 2 --key certificate.pub", GX_OK, "\"serial\":2,");

    expect("certificate show 1", GX_OK, "NOT CHECKED");
    expect("certificate show 1 --key certificate.pub", GX_OK, "it holds under the key");
    expect("certificate show T-00000001 --out page", GX_OK, "");
    expect("--json certificate show 1", GX_OK, "\"checked\":false,");

    flip("2", 600);
    expect("certificate verify 1 2 3 --key certificate.pub", GX_E_CORRUPT, "2: ");
    ck_assert_int_eq(gx_file_remove_tree(folder, NULL), GX_OK);
    end();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        ticket_without_a_certificate_says_why,
        certificate_arrives_byte_by_byte_with_the_key_that_proves_it,
        certificate_and_key_survive_a_restart,
        staff_fetch_check_and_print_certificates,
    };
    return gx_rpc_scene_run("certificate", tests, GX_COUNT_OF(tests));
}
