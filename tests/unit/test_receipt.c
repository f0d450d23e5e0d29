/* Promises of receipt.h, and of gx_client_certificate_… in client.h, which reads what it makes. */
#include "receipt.h"

#include <jansson.h>

#include "indexd/client.h"
#include "receipt_tools.h"

static struct receipt_tools tools;
static struct gx_digest digest;
static struct gx_err err;

static void begin(void)
{
    receipt_tools_begin(&tools);
}

static void end(void)
{
    receipt_tools_end(&tools);
}

static enum gx_status verify(const void *bytes, size_t len, struct gx_client_certificate **out)
{
    struct gx_slice key = gx_keys_public(tools.signer);
    return gx_client_certificate_verify(bytes, len, key.data, key.len, out);
}

static bool holds(struct gx_slice bytes, const char *text)
{
    return memmem(bytes.data, bytes.len, text, strlen(text)) != NULL;
}

static void assert_refused(enum gx_status status, enum gx_status want)
{
    ck_assert_int_eq(status, want);
    ck_assert(gx_client_error()[0] != '\0');
}

/* --- what it says --- */

START_TEST(certificate_is_genuine_and_says_what_went_in)
{
    struct gx_client_certificate *c;
    struct gx_slice bytes = receipt_tools_make(&tools, &digest);
    ck_assert_msg(verify(bytes.data, bytes.len, &c) == GX_OK, "%s", gx_client_error());
    ck_assert(c->checked && c->serial == 17 && c->kind == GX_CLIENT_ARREST && c->records == 3 && c->ids == 2);
    ck_assert_uint_eq(c->unmatched_ids, 1);
    ck_assert_str_eq(c->ticket_id, "T-00000042");
    ck_assert_str_eq(c->gallery, "arrests");
    ck_assert_str_eq(c->order_ref, "Beschluß \"4711/26\" \xe2\x82\xac\xf0\x9f\x93\x81\\");
    ck_assert_str_eq(c->store, "30313233-3435-3637-3839-616263646500");
    ck_assert_str_eq(c->server, "indexd " GX_VERSION);
    ck_assert_str_eq(c->accepted, "2024-03-01T12:30:00.000001Z");
    ck_assert_str_eq(c->verified, "2024-03-01T12:30:06.999999Z");
    ck_assert_str_eq(c->named[0], "000102030405060708090a0b0c0d0e0f");
    ck_assert_uint_eq(c->n_record_hashes, 3);
    ck_assert_str_eq(c->record_hashes[2], "c0c1c2c3c4c5c6c7c8c9cacbcccdcecf");
    ck_assert_str_eq(c->method, "bytes");
    ck_assert(c->attempts == 1 && c->files_rewritten == 4 && c->bytes_rewritten == 8000000 && c->files_removed == 7);
    ck_assert(c->files_scanned == 17 && c->bytes_scanned == 2345678 && c->files_left_out == 3 && c->control_hits == 5);
    ck_assert(c->n_covers >= 4 && c->n_excludes >= 5 && c->n_backups == 2);
    ck_assert_str_eq(c->backups[0].expires, "2024-06-21T20:00:00.000000Z");
    ck_assert_str_eq(c->backups[1].expires, "");
    ck_assert_uint_eq(strspn(c->previous, "0"), 64);
    gx_client_certificate_free(c);
}
END_TEST

START_TEST(bytes_are_the_documented_form_and_the_same_each_time)
{
    struct gx_slice bytes = receipt_tools_make(&tools, &digest);
    struct gx_digest again_digest;
    struct gx_slice again = receipt_tools_make(&tools, &again_digest);
    ck_assert(gx_slice_equal(bytes, again));
    ck_assert_mem_eq(&digest, &again_digest, sizeof(digest));
    ck_assert(bytes.len < GX_RECEIPT_MAX && memcmp(bytes.data, "{\"signature\":\"", 14) == 0);
    ck_assert(memcmp(bytes.data + 14 + 128, "\",\"statement\":{\"backups\":[{\"created\":", 37) == 0);
    ck_assert(holds(bytes, ",\"version\":1,\"work\":{\"attempts\":1,\"bytes_rewritten\":8000000,"));
    ck_assert(holds(bytes, "\"order_ref\":\"Beschluß \\\"4711/26\\\" \xe2\x82\xac\xf0\x9f\x93\x81\\\\\""));
    ck_assert(memchr(bytes.data, '\n', bytes.len) == bytes.data + bytes.len - 1);
}
END_TEST

START_TEST(more_records_than_are_listed_are_named_by_their_digest)
{
    size_t n = GX_RECEIPT_HASHES_MAX + 1;
    struct gx_key *many = calloc(n, sizeof(*many));
    struct gx_client_certificate *c;
    struct gx_digest all;
    char text[2 * sizeof(all) + 1];
    ck_assert_ptr_nonnull(many);
    for (size_t i = 0; i < n; i++)
        memcpy(many[i].bytes, &i, sizeof(i));
    tools.in.records = many;
    for (tools.ticket.n_records = n - 1; tools.ticket.n_records <= n; tools.ticket.n_records++) {
        struct gx_slice bytes = receipt_tools_make(&tools, &digest);
        struct gx_slice hashes = {many->bytes, tools.ticket.n_records * sizeof(*many)};
        ck_assert_int_eq(gx_keys_sha256(&hashes, 1, &all, &err), GX_OK);
        for (size_t i = 0; i < sizeof(all); i++)
            (void)snprintf(text + 2 * i, 3, "%02x", all.bytes[i]);
        ck_assert_int_eq(verify(bytes.data, bytes.len, &c), GX_OK);
        ck_assert_uint_eq(c->records, tools.ticket.n_records);
        ck_assert_uint_eq(c->n_record_hashes, tools.ticket.n_records < n ? n - 1 : 0);
        ck_assert_str_eq(c->records_sha256, text);
        gx_client_certificate_free(c);
    }
    free(many);
}
END_TEST

START_TEST(order_that_matched_nothing_gets_a_certificate_without_the_stages_that_had_nothing_to_do)
{
    struct gx_client_certificate *c;
    tools.ticket.n_records = 0;
    tools.ticket.n_unmatched = 2;
    tools.ticket.flushed_at_us = tools.ticket.compacted_at_us = tools.ticket.unlinked_at_us = 0;
    tools.ticket.control_hits = 0;
    tools.in.records = NULL;
    tools.in.n_backups = 0;
    struct gx_slice bytes = receipt_tools_make(&tools, &digest);
    ck_assert_int_eq(verify(bytes.data, bytes.len, &c), GX_OK);
    ck_assert_str_eq(c->flushed, "");
    ck_assert_str_eq(c->erased, "2024-03-01T12:30:05.000000Z");
    ck_assert(c->records == 0 && c->n_backups == 0);
    gx_client_certificate_free(c);
}
END_TEST

/* --- what it refuses to say --- */

static void assert_not_made(enum gx_status want)
{
    struct gx_slice bytes;
    ck_assert_int_eq(gx_receipt_make(&tools.in, tools.signer, &tools.arena, &bytes, &digest, &err), want);
    ck_assert(bytes.data == NULL && strncmp(err.text, "certificate: ", 13) == 0);
}

START_TEST(stage_that_was_not_reached_means_no_certificate)
{
    int64_t *stages[] = {&tools.ticket.accepted_at_us,  &tools.ticket.unindexed_at_us, &tools.ticket.flushed_at_us,
                         &tools.ticket.compacted_at_us, &tools.ticket.unlinked_at_us,  &tools.ticket.erased_at_us,
                         &tools.ticket.verified_at_us};
    for (size_t i = 0; i < GX_COUNT_OF(stages); i++) {
        int64_t kept = *stages[i];
        *stages[i] = 0;
        assert_not_made(GX_E_STATE);
        *stages[i] = kept;
    }
    tools.ticket.certificate = 0;
    assert_not_made(GX_E_STATE);
}
END_TEST

START_TEST(check_that_proves_nothing_means_no_certificate)
{
    tools.in.hits = 1;
    assert_not_made(GX_E_STATE);
    tools.in.hits = 0;
    tools.ticket.control_hits = 0; /* a scan that finds nothing anywhere */
    assert_not_made(GX_E_STATE);
    tools.ticket.method = GX_TICKET_UNCHECKED;
    assert_not_made(GX_E_STATE);
    tools.ticket.method = GX_TICKET_STRUCTURAL; /* without a reason */
    assert_not_made(GX_E_STATE);
    tools.in.reason = gx_slice_text("the server was restarted before the check");
    (void)receipt_tools_make(&tools, &digest);
    tools.ticket.method = GX_TICKET_BYTES; /* with one */
    tools.ticket.control_hits = 1;
    assert_not_made(GX_E_STATE);
}
END_TEST

START_TEST(values_out_of_range_mean_no_certificate)
{
    struct receipt_tools good = tools;
    tools.ticket.order_ref = gx_slice_text("a\nb");
    assert_not_made(GX_E_INVALID);
    tools.ticket.order_ref = gx_slice_text("\xff\xfe");
    assert_not_made(GX_E_INVALID);
    tools.ticket = good.ticket;
    tools.ticket.kind = GX_ID_REQUEST;
    assert_not_made(GX_E_INVALID);
    tools.ticket = good.ticket;
    tools.ticket.n_unmatched = 3;
    assert_not_made(GX_E_INVALID);
    tools.ticket = good.ticket;
    tools.in.n_named = GX_EXPUNGE_IDS_MAX + 1;
    assert_not_made(GX_E_INVALID);
    tools.in.n_named = 2;
    tools.backups[1].id = gx_slice_text("");
    assert_not_made(GX_E_INVALID);
}
END_TEST

START_TEST(too_little_memory_is_an_error_of_its_own)
{
    struct gx_slice bytes;
    gx_arena_fini(&tools.arena);
    gx_arena_init(&tools.arena, 1000);
    ck_assert_int_eq(gx_receipt_make(&tools.in, tools.signer, &tools.arena, &bytes, &digest, &err), GX_E_TOO_LARGE);
}
END_TEST

/* malloc that gives NULL once, after @left more. */
static size_t left = SIZE_MAX;
static void *scarce_malloc(size_t n)
{
    return left-- == 0 ? NULL : malloc(n);
}

START_TEST(every_failed_allocation_is_told_and_nothing_half_made_comes_out)
{
    struct gx_slice good = receipt_tools_make(&tools, &digest), bytes;
    struct gx_client_certificate *c;
    enum gx_status status = GX_E_NOMEM;
    json_set_alloc_funcs(scarce_malloc, free);
    for (size_t n = 0; status != GX_OK; n++) {
        left = n;
        status = gx_receipt_make(&tools.in, tools.signer, &tools.arena, &bytes, &digest, &err);
        ck_assert_msg(status == GX_OK ? n > 100 && gx_slice_equal(bytes, good)
                                      : status == GX_E_NOMEM && bytes.data == NULL,
                      "%zu: %d, %zu bytes", n, (int)status, bytes.len);
    }
    status = GX_E_NOMEM;
    for (size_t n = 0; status != GX_OK; n++) {
        left = n;
        status = verify(good.data, good.len, &c);
        ck_assert_msg(status == GX_OK ? n > 100 : c == NULL && gx_client_error()[0] != '\0', "%zu", n);
    }
    left = SIZE_MAX;
    gx_client_certificate_free(c);
}
END_TEST

/* --- that nothing can be changed --- */

/* A copy with @from replaced by @to once; both must stand there, or be put there. */
static char *edited(struct gx_slice good, const char *from, const char *to, size_t *out_len)
{
    char *at = memmem(good.data, good.len, from, strlen(from));
    ck_assert_msg(at != NULL, "%s", from);
    size_t before = (size_t)(at - (char *)good.data), rest = good.len - before - strlen(from);
    char *copy = malloc(before + strlen(to) + rest + 1);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, good.data, before);
    memcpy(copy + before, to, strlen(to));
    memcpy(copy + before + strlen(to), at + strlen(from), rest);
    *out_len = before + strlen(to) + rest;
    return copy;
}

/* Signs @statement; malloc'ed. */
static char *sign(const char *statement, size_t len, size_t *out_len)
{
    uint8_t signature[GX_SIGNATURE_LEN];
    struct gx_slice message = {(const uint8_t *)statement, len};
    ck_assert_int_eq(gx_keys_sign(tools.signer, message, signature, &err), GX_OK);
    char *file = malloc(len + 256), *p = file;
    ck_assert_ptr_nonnull(file);
    p += sprintf(p, "{\"signature\":\"");
    for (size_t i = 0; i < sizeof(signature); i++)
        p += sprintf(p, "%02x", signature[i]);
    p += sprintf(p, "\",\"statement\":");
    p = mempcpy(p, statement, len);
    p = mempcpy(p, "}\n", 2);
    *out_len = (size_t)(p - file);
    return file;
}

/* A genuine one without the long texts of its scope. */
static char *make_small(size_t *out_len)
{
    struct gx_slice good = receipt_tools_make(&tools, &digest);
    const char *statement = (const char *)good.data + 14 + 128 + 14, *end = (const char *)good.data + good.len - 2;
    const char *from = memmem(good.data, good.len, "\"covers\":", 9);
    const char *until = memmem(good.data, good.len, "},\"serial\":", 11);
    ck_assert(from != NULL && until != NULL);
    char *text = malloc(good.len), *p = text;
    ck_assert_ptr_nonnull(text);
    p = mempcpy(p, statement, (size_t)(from - statement));
    p += sprintf(p, "\"covers\":[\"a\"],\"excludes\":[\"b\"]");
    p = mempcpy(p, until, (size_t)(end - until));
    char *file = sign(text, (size_t)(p - text), out_len);
    free(text);
    return file;
}

static void assert_flip_found(uint8_t *bytes, size_t len, size_t bit)
{
    struct gx_client_certificate *c = NULL;
    bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    ck_assert_msg(verify(bytes, len, &c) != GX_OK, "bit %zu", bit);
    ck_assert_ptr_null(c);
    bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
}

START_TEST(every_flipped_bit_is_found)
{
    size_t len;
    char *small = make_small(&len);
    ck_assert_msg(verify(small, len, NULL) == GX_OK, "%s", gx_client_error());
    for (size_t i = 0; i < 8 * len; i++)
        assert_flip_found((uint8_t *)small, len, i);
    ck_assert_int_eq(verify(small, len, NULL), GX_OK);
    free(small);
}
END_TEST

START_TEST(a_flipped_bit_is_found_in_every_byte_of_a_whole_certificate)
{
    struct gx_slice good = receipt_tools_make(&tools, &digest);
    uint8_t *bytes = malloc(good.len);
    ck_assert_ptr_nonnull(bytes);
    memcpy(bytes, good.data, good.len);
    for (size_t i = 0; i < good.len; i++)
        assert_flip_found(bytes, good.len, 8 * i + i % 8);
    ck_assert_int_eq(verify(bytes, good.len, NULL), GX_OK);
    free(bytes);
}
END_TEST

START_TEST(every_cut_and_every_added_byte_is_found)
{
    struct gx_slice good = receipt_tools_make(&tools, &digest);
    for (size_t len = 0; len < good.len; len++)
        ck_assert_int_ne(verify(good.data, len, NULL), GX_OK);
    char *longer = malloc(good.len + 1);
    ck_assert_ptr_nonnull(longer);
    for (size_t at = 0; at <= good.len; at++) {
        memcpy(longer, good.data, at);
        longer[at] = ' '; /* means nothing in JSON */
        memcpy(longer + at + 1, good.data + at, good.len - at);
        assert_refused(verify(longer, good.len + 1, NULL), GX_E_CORRUPT);
    }
    free(longer);
}
END_TEST

START_TEST(the_same_json_in_another_form_is_refused)
{
    static const char *const edits[][2] = {
        {"\"serial\":17,", "\"serial\":17,\"serial\":17,"},             /* a key twice */
        {"\"serial\":17,", "\"serial\":18,\"serial\":17,"},             /* … with two values */
        {"\"serial\":17,", "\"serial\": 17,"},                          /* a space */
        {"\"serial\":17,", "\"serial\":17.0,"},                         /* another number of the same value */
        {"\"serial\":17,", "\"s\\u0065rial\":17,"},                     /* an escape */
        {"\"erased\":", "\"\\u0065rased\":"},                           /* … further down */
        {"\"ids\":2,\"key\":", "\"ids\":2 ,\"key\":"},                  /* a space before a comma */
        {"\"type\":\"indexd ", "\"type\":\"indexd\\u0020"},             /* … in a text */
        {"\"type\":\"indexd ", "\"a\":1,\"type\":\"indexd "},           /* a key more, in the wrong place */
        {"\"files_rewritten\":4}}", "\"files_rewritten\":4},\"x\":1}"}, /* … in the right one */
        {"\"files_rewritten\":4}}", "\"files_rewritten\":4}},\"t\":1"}, /* … outside of the statement */
        {"\"attempts\":1,\"bytes_rewritten\":8000000,", "\"bytes_rewritten\":8000000,\"attempts\":1,"}, /* reordered */
        {"}}\n", "}}\r\n"},
        {"}}\n", "}}"},
        {"}}\n", "}}\n\n"},
    };
    struct gx_slice good = receipt_tools_make(&tools, &digest);
    for (size_t i = 0; i < GX_COUNT_OF(edits); i++) {
        size_t len;
        char *copy = edited(good, edits[i][0], edits[i][1], &len);
        ck_assert_msg(verify(copy, len, NULL) == GX_E_CORRUPT, "%s", edits[i][1]);
        free(copy);
    }
}
END_TEST

START_TEST(statement_before_the_signature_is_refused)
{
    struct gx_slice good = receipt_tools_make(&tools, &digest);
    size_t statement_at = 14 + 128 + 14, statement_len = good.len - statement_at - 2;
    char *copy = malloc(good.len);
    ck_assert_ptr_nonnull(copy);
    char *p = mempcpy(copy, "{\"statement\":", 13);
    p = mempcpy(p, good.data + statement_at, statement_len);
    p = mempcpy(p, ",\"signature\":\"", 14);
    p = mempcpy(p, good.data + 14, 128);
    p = mempcpy(p, "\"}\n", 3);
    assert_refused(verify(copy, (size_t)(p - copy), NULL), GX_E_CORRUPT);
    free(copy);
}
END_TEST

START_TEST(unknown_version_is_refused_as_such)
{
    size_t len;
    struct gx_slice good = receipt_tools_make(&tools, &digest);
    char *copy = edited(good, ",\"version\":1,", ",\"version\":2,", &len);
    assert_refused(verify(copy, len, NULL), GX_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(gx_client_error(), "version 2"));
    free(copy);
    copy = edited(good, "certificate of expungement", "certificate of emptiness!!", &len);
    assert_refused(verify(copy, len, NULL), GX_E_CORRUPT);
    free(copy);
}
END_TEST

START_TEST(statement_signed_with_a_field_missing_is_refused)
{
    /* Genuine signature, foreign content: what another program would have to sign to get in. */
    static const char statement[] =
        "{\"key\":\"%s\",\"serial\":1,\"type\":\"indexd certificate of expungement\",\"version\":1}";
    char key[65], text[512];
    size_t len;
    for (size_t i = 0; i < GX_DIGEST_LEN; i++)
        (void)snprintf(key + 2 * i, 3, "%02x", gx_keys_public_digest(tools.signer)->bytes[i]);
    (void)snprintf(text, sizeof(text), statement, key);
    char *file = sign(text, strlen(text), &len);
    assert_refused(verify(file, len, NULL), GX_E_CORRUPT);
    free(file);
    ck_assert_ptr_nonnull(strstr(gx_client_error(), "field"));
}
END_TEST

START_TEST(what_is_no_certificate_is_refused)
{
    static const char *const texts[] = {"",       "x",    "[]\n", "{}\n",
                                        "null\n", "\"\"", "17",   "{\"signature\":\"\",\"statement\":{}}\n"};
    for (size_t i = 0; i < GX_COUNT_OF(texts); i++)
        assert_refused(verify(texts[i], strlen(texts[i]), NULL), GX_E_CORRUPT);
    size_t len = GX_CLIENT_CERTIFICATE_MAX + 1;
    char *large = malloc(len);
    ck_assert_ptr_nonnull(large);
    memset(large, '[', len);
    assert_refused(verify(large, len, NULL), GX_E_CORRUPT);
    assert_refused(verify(large, len - 1, NULL), GX_E_CORRUPT);
    free(large);
}
END_TEST

START_TEST(certificate_of_another_key_is_refused)
{
    struct gx_signer *other;
    struct gx_slice bytes = receipt_tools_make(&tools, &digest);
    receipt_tools_pair(tools.dir, "other", &other);
    struct gx_slice key = gx_keys_public(other);
    assert_refused(gx_client_certificate_verify(bytes.data, bytes.len, key.data, key.len, NULL), GX_E_CORRUPT);
    ck_assert_ptr_nonnull(strstr(gx_client_error(), "another key"));
    gx_keys_signer_close(other);
    assert_refused(gx_client_certificate_verify(bytes.data, bytes.len, "no key", 6, NULL), GX_E_INVALID);
    assert_refused(gx_client_certificate_verify(bytes.data, bytes.len, NULL, 0, NULL), GX_E_INVALID);
}
END_TEST

/* --- chain --- */

static struct gx_client_certificate *make_next(uint64_t serial, struct gx_digest previous)
{
    struct gx_client_certificate *c;
    tools.ticket.certificate = serial;
    tools.in.previous = previous;
    struct gx_slice bytes = receipt_tools_make(&tools, &digest);
    ck_assert_int_eq(verify(bytes.data, bytes.len, &c), GX_OK);
    return c;
}

START_TEST(certificates_form_a_chain_from_which_none_can_be_taken)
{
    struct gx_client_certificate *a = make_next(1, (struct gx_digest){{0}});
    struct gx_client_certificate *b = make_next(2, digest), *c = make_next(3, digest);
    ck_assert_str_eq(b->previous, a->digest);
    ck_assert_int_eq(gx_client_certificate_follows(b, a), GX_OK);
    ck_assert_int_eq(gx_client_certificate_follows(c, b), GX_OK);
    assert_refused(gx_client_certificate_follows(c, a), GX_E_CORRUPT);
    assert_refused(gx_client_certificate_follows(a, b), GX_E_CORRUPT);
    tools.ticket.n_unmatched = 0;
    struct gx_client_certificate *forged = make_next(1, (struct gx_digest){{0}}); /* another first one */
    assert_refused(gx_client_certificate_follows(b, forged), GX_E_CORRUPT);
    tools.in.store.bytes[0] ^= 1;
    struct gx_client_certificate *elsewhere = make_next(4, digest);
    assert_refused(gx_client_certificate_follows(elsewhere, c), GX_E_CORRUPT);
    gx_client_certificate_free(a);
    gx_client_certificate_free(b);
    gx_client_certificate_free(c);
    gx_client_certificate_free(forged);
    gx_client_certificate_free(elsewhere);
}
END_TEST

/* --- the page --- */

static char *page_of(const struct gx_client_certificate *c)
{
    char *text;
    ck_assert_int_eq(gx_client_certificate_text(c, &text), GX_OK);
    return text;
}

START_TEST(page_says_what_a_court_asks_in_lines_that_can_be_printed)
{
    static const char *const wanted[] = {
        "CERTIFICATE OF EXPUNGEMENT",
        "Beschluß \"4711/26\"",
        "T-00000042",
        "number 17",
        "3 records",
        "2 arrest ids; 1 of them",
        "it holds under",
        "2024-03-01T12:30:06.999999Z",
        "17 files, 2345678 bytes",
        "embeddings in 5 places",
        "3 table files",
        "B-2, made",
        "until somebody",
        "indexctl certificate verif",
        "swap space, core",
        "certificate.pub",
    };
    struct gx_client_certificate *c;
    struct gx_slice bytes = receipt_tools_make(&tools, &digest);
    ck_assert_int_eq(verify(bytes.data, bytes.len, &c), GX_OK);
    char *text = page_of(c);
    for (size_t i = 0; i < GX_COUNT_OF(wanted); i++)
        ck_assert_msg(strstr(text, wanted[i]) != NULL, "%s", wanted[i]);
    ck_assert_ptr_nonnull(strstr(text, c->digest));
    ck_assert_ptr_nonnull(strstr(text, c->key));
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        size_t n = 0;
        for (const char *p = line; *p != '\0'; p++)
            n += ((unsigned char)*p & 0xc0) != 0x80;
        ck_assert_msg(n <= 80 && line[strlen(line) - 1] != ' ', "%s", line);
    }
    free(text);
    gx_client_certificate_free(c);
}
END_TEST

START_TEST(page_of_an_unchecked_file_says_so_and_prints_no_tricks)
{
    size_t len;
    struct gx_client_certificate *c;
    struct gx_slice good = receipt_tools_make(&tools, &digest);
    /* Anybody can write this: an order that turns the writing, clears the screen, begins lines. */
    char *copy = edited(good, "Beschluß ", "\\u001B[2Jx\\nSignature \xe2\x80\xaey\xc2\x9bz\xc2\xa7 ", &len);
    ck_assert_msg(gx_client_certificate_read(copy, len, &c) == GX_OK, "%s", gx_client_error());
    ck_assert(!c->checked);
    char *text = page_of(c);
    ck_assert_ptr_nonnull(strstr(text, "NOT CHECKED"));
    ck_assert_ptr_null(strstr(text, "it holds under"));
    ck_assert_ptr_nonnull(strstr(text, "?[2Jx?Signature ?y?z\xc2\xa7 \"4711"));
    free(text);
    gx_client_certificate_free(c);
    assert_refused(verify(copy, len, &c), GX_E_CORRUPT);
    free(copy);
}
END_TEST

/* --- by hand --- */

START_TEST(the_way_without_indexd_that_the_page_tells_works)
{
    struct gx_client_certificate *c;
    char path[128], command[4096];
    struct gx_slice bytes = receipt_tools_make(&tools, &digest);
    (void)snprintf(path, sizeof(path), "%s/FILE", tools.dir);
    ck_assert_int_eq(gx_file_write(path, bytes, 0600, false, &err), GX_OK);
    ck_assert_int_eq(verify(bytes.data, bytes.len, &c), GX_OK);
    char *text = page_of(c), *from = strstr(text, "     sed "), *until = strstr(text, "     openssl pkey ");
    ck_assert(from != NULL && until > from);
    int n = snprintf(command, sizeof(command), "cd '%s' && { %.*s} >out 2>&1", tools.dir, (int)(until - from), from);
    ck_assert_int_lt(n, (int)sizeof(command));
    ck_assert_int_eq(system(command), 0);
    (void)snprintf(command, sizeof(command),
                   "cd '%s' && printf x >>statement && ! openssl pkeyutl -verify -rawin -pubin -inkey certificate.pub "
                   "-in statement -sigfile signature >out 2>&1",
                   tools.dir);
    ck_assert_int_eq(system(command), 0);
    (void)snprintf(command, sizeof(command),
                   "cd '%s' && openssl pkey -pubin -in certificate.pub -outform DER | sha256sum | grep -q %s && "
                   "sha256sum FILE | grep -q %s",
                   tools.dir, c->key, c->digest);
    ck_assert_int_eq(system(command), 0);
    free(text);
    gx_client_certificate_free(c);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        certificate_is_genuine_and_says_what_went_in,
        bytes_are_the_documented_form_and_the_same_each_time,
        more_records_than_are_listed_are_named_by_their_digest,
        order_that_matched_nothing_gets_a_certificate_without_the_stages_that_had_nothing_to_do,
        stage_that_was_not_reached_means_no_certificate,
        check_that_proves_nothing_means_no_certificate,
        values_out_of_range_mean_no_certificate,
        too_little_memory_is_an_error_of_its_own,
        every_failed_allocation_is_told_and_nothing_half_made_comes_out,
        every_flipped_bit_is_found,
        a_flipped_bit_is_found_in_every_byte_of_a_whole_certificate,
        every_cut_and_every_added_byte_is_found,
        the_same_json_in_another_form_is_refused,
        statement_before_the_signature_is_refused,
        unknown_version_is_refused_as_such,
        statement_signed_with_a_field_missing_is_refused,
        what_is_no_certificate_is_refused,
        certificate_of_another_key_is_refused,
        certificates_form_a_chain_from_which_none_can_be_taken,
        page_says_what_a_court_asks_in_lines_that_can_be_printed,
        page_of_an_unchecked_file_says_so_and_prints_no_tricks,
        the_way_without_indexd_that_the_page_tells_works,
    };
    Suite *suite = suite_create("receipt");
    TCase *tc = tcase_create("receipt");
    tcase_add_checked_fixture(tc, begin, end);
    for (size_t i = 0; i < GX_COUNT_OF(tests); i++)
        tcase_add_test(tc, tests[i]);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
