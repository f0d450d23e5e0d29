/* A certificate of the tests' own: a key pair in a temporary directory, and what goes into it. Asserts with Check. */
#ifndef GX_RECEIPT_TOOLS_H
#define GX_RECEIPT_TOOLS_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "file.h"
#include "receipt.h"
#include "temp.h"

struct receipt_tools {
    char dir[64];
    struct gx_signer *signer;
    struct gx_arena arena;
    struct gx_ticket ticket;
    struct gx_key named[2], records[3];
    struct gx_receipt_backup backups[2];
    struct gx_receipt_in in;
};

static void receipt_tools_pair(const char *dir, const char *name, struct gx_signer **out)
{
    char key[128], public[128];
    struct gx_err err;
    (void)snprintf(key, sizeof(key), "%s/%s.key", dir, name);
    (void)snprintf(public, sizeof(public), "%s/%s.pub", dir, name);
    ck_assert_msg(gx_keys_signer_create(key, public, &err) == GX_OK, "%s", err.text);
    ck_assert_msg(gx_keys_signer_open(key, public, out, &err) == GX_OK, "%s", err.text);
}

static void receipt_tools_begin(struct receipt_tools *t)
{
    *t = (struct receipt_tools){0};
    gx_temp_folder("receipt", t->dir, sizeof(t->dir));
    receipt_tools_pair(t->dir, "certificate", &t->signer);
    gx_arena_init(&t->arena, (size_t)64 << 20);
    t->ticket = (struct gx_ticket){.number = 42,
                                   .state = GX_TICKET_VERIFIED,
                                   .kind = GX_ID_ARREST,
                                   .method = GX_TICKET_BYTES,
                                   .gallery = gx_slice_text("arrests"),
                                   .order_ref = gx_slice_text("Beschluß \"4711/26\" \xe2\x82\xac\xf0\x9f\x93\x81\\"),
                                   .n_records = 3,
                                   .n_unmatched = 1,
                                   .epoch = 9,
                                   .accepted_at_us = 1709296200000001,
                                   .unindexed_at_us = 1709296201000000,
                                   .flushed_at_us = 1709296202000000,
                                   .compacted_at_us = 1709296203000000,
                                   .unlinked_at_us = 1709296204000000,
                                   .erased_at_us = 1709296205000000,
                                   .verified_at_us = 1709296206999999,
                                   .attempts = 1,
                                   .files_rewritten = 4,
                                   .bytes_rewritten = 8000000,
                                   .files_removed = 7,
                                   .files_scanned = 17,
                                   .bytes_scanned = 2345678,
                                   .files_left_out = 3,
                                   .control_hits = 5,
                                   .certificate = 17};
    for (size_t i = 0; i < sizeof(t->named); i++)
        ((uint8_t *)t->named)[i] = (uint8_t)i;
    for (size_t i = 0; i < sizeof(t->records); i++)
        ((uint8_t *)t->records)[i] = (uint8_t)(0xa0 + i);
    t->backups[0] = (struct gx_receipt_backup){gx_slice_text("B-1"), 1709000000000000, 1719000000000000};
    t->backups[1] = (struct gx_receipt_backup){gx_slice_text("B-2"), 1709100000000000, 0};
    t->in = (struct gx_receipt_in){.ticket = &t->ticket,
                                   .store = {"0123456789abcde"},
                                   .named = t->named,
                                   .n_named = 2,
                                   .records = t->records,
                                   .backups = t->backups,
                                   .n_backups = 2};
}

static void receipt_tools_end(struct receipt_tools *t)
{
    gx_keys_signer_close(t->signer);
    gx_arena_fini(&t->arena);
    ck_assert_int_eq(gx_file_remove_tree(t->dir, NULL), GX_OK);
}

static struct gx_slice receipt_tools_make(struct receipt_tools *t, struct gx_digest *out_digest)
{
    struct gx_slice certificate;
    struct gx_err err;
    ck_assert_msg(gx_receipt_make(&t->in, t->signer, &t->arena, &certificate, out_digest, &err) == GX_OK, "%s",
                  err.text);
    return certificate;
}

#endif
