/* verify-absent: is a record, or a face, really gone? */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "indexctl_command.h"
#include "indexctl_source.h"
#include "indexctl_table.h"

#define AT(member) offsetof(struct gx_indexctl_args, member)

struct tally {
    uint64_t n, n_present;
};

/* ---------------------------------------------------------------- the verdict */

static void print_places(FILE *out, const struct gx_client_absence *a)
{
    char n[GX_INDEXCTL_TABLE_COUNT_MAX];
    for (size_t i = 0; i < a->n_first; i++)
        (void)fprintf(out, "                at byte %" PRIu64 " of %s\n", a->first[i].offset, a->first[i].file);
    if (a->hits > a->n_first)
        (void)fprintf(out, "                and at %s places more\n", gx_indexctl_table_count(a->hits - a->n_first, n));
}

static void print_text(FILE *out, const char *what, bool is_record, const struct gx_client_absence *a)
{
    char files[GX_INDEXCTL_TABLE_PLURAL_MAX], bytes[GX_INDEXCTL_TABLE_COUNT_MAX], hits[GX_INDEXCTL_TABLE_PLURAL_MAX];
    (void)fprintf(out, "%s: %s\n", what,
                  !a->absent          ? "NOT ABSENT"
                  : a->files_searched ? "ABSENT"
                                      : "ABSENT from search and store; the files were not searched");
    (void)fprintf(out, "  search        %s\n", a->searchable ? "it is found" : "not found");
    if (is_record) {
        (void)fprintf(out, "  store         %s\n", a->stored ? "it is stored" : "not stored");
        (void)fprintf(out, "  ledger        %s\n", a->expunged ? "an order removed or barred it" : "no order names it");
    } else if (a->has_nearest) {
        (void)fprintf(out, "  nearest       cosine %.4f%s\n", a->nearest_cosine,
                      !a->searchable && a->nearest_cosine > 0.99 ? ": look whether it is the same photo" : "");
    } else {
        (void)fprintf(out, "  nearest       the gallery is empty\n");
    }
    if (!a->files_searched) {
        (void)fprintf(out, "  files         not searched: %s\n", a->note);
        return;
    }
    (void)fprintf(out, "  files         %s, %s searched: %s\n", gx_indexctl_table_plural(a->files, "file", files),
                  gx_indexctl_table_bytes(a->bytes, bytes),
                  a->hits == 0 ? "nothing found" : gx_indexctl_table_plural(a->hits, "place", hits));
    print_places(out, a);
}

static enum gx_status print(struct gx_indexctl_session *s, const char *record_id, uint64_t probe,
                            const struct gx_client_absence *a, struct tally *tally)
{
    const char *gallery = s->args->words.items[0];
    char what[400];
    tally->n++;
    tally->n_present += !a->absent;
    if (s->args->json)
        return gx_indexctl_json_absence(s->out, gallery, record_id, probe, a);
    if (record_id != NULL)
        (void)snprintf(what, sizeof(what), "record %s of %s", record_id, gallery);
    else
        (void)snprintf(what, sizeof(what), "face %" PRIu64 " in %s", probe, gallery);
    print_text(s->out, what, record_id != NULL, a);
    return GX_OK;
}

/* ---------------------------------------------------------------- records, faces */

static enum gx_status verify_records(struct gx_indexctl_session *s, struct tally *tally)
{
    const struct gx_indexctl_list *ids = &s->args->records;
    for (size_t i = 0; i < ids->n; i++) {
        struct gx_client_absence a;
        enum gx_status status = gx_client_absent_record(s->client, s->args->words.items[0], ids->items[i], &a);
        if (status != GX_OK)
            return gx_indexctl_fail_client(status);
        status = print(s, ids->items[i], 0, &a, tally);
        if (status != GX_OK)
            return status;
    }
    return GX_OK;
}

static enum gx_status verify_rows(struct gx_indexctl_session *s, struct gx_indexctl_source *source, bool one,
                                  struct tally *tally)
{
    const struct gx_indexctl_args *args = s->args;
    struct gx_indexctl_batch batch = {0};
    struct gx_client_gallery g;
    enum gx_status status = gx_client_gallery_get(s->client, args->words.items[0], &g);
    if (status != GX_OK)
        return gx_indexctl_fail_client(status);
    const char *id = args->embedder != NULL ? args->embedder : g.embedder_id;
    const char *version = args->embedder != NULL ? args->embedder_version : g.embedder_version;
    do {
        struct gx_client_absence a;
        status = gx_indexctl_source_read(source, 1, &batch);
        if (status != GX_OK || batch.n == 0)
            break;
        status = gx_client_absent_face(s->client, g.name, id, version, batch.rows, batch.dim, &a);
        status = status == GX_OK ? print(s, NULL, batch.first, &a, tally) : gx_indexctl_fail_client(status);
    } while (status == GX_OK && !one);
    gx_indexctl_source_batch_fini(&batch);
    if (status == GX_OK && tally->n == 0)
        return gx_indexctl_fail(GX_E_INVALID, "there is no such row in the file of --probe");
    return status;
}

static enum gx_status verify_faces(struct gx_indexctl_session *s, struct tally *tally)
{
    char *file;
    bool one;
    uint64_t row;
    struct gx_indexctl_source *source = NULL;
    enum gx_status status = gx_indexctl_source_split(s->args->probe, &file, &one, &row);
    if (status == GX_OK)
        status = gx_indexctl_source_open(file, s->args->format, &source);
    if (status == GX_OK && one)
        status = gx_indexctl_source_skip(source, row);
    if (status == GX_OK)
        status = verify_rows(s, source, one, tally);
    gx_indexctl_source_close(source);
    free(file);
    return status;
}

static enum gx_status run_verify(struct gx_indexctl_session *s)
{
    struct tally tally = {0, 0};
    if ((s->args->records.n > 0) == (s->args->probe != NULL))
        return gx_indexctl_fail(GX_E_INVALID, "what is to be looked for? --record ID, or --probe FILE[:ROW]");
    enum gx_status status = s->args->probe != NULL ? verify_faces(s, &tally) : verify_records(s, &tally);
    if (status != GX_OK || tally.n_present == 0)
        return status;
    return gx_indexctl_fail(GX_E_STATE, "%" PRIu64 " of %" PRIu64 " not absent", tally.n_present, tally.n);
}

/* ---------------------------------------------------------------- table */

static const struct gx_indexctl_option verify_options[] = {
    {"record", 'r', "ID", GX_INDEXCTL_LIST, AT(records), 0, 0, "this record (repeatable: each for itself)"},
    {"probe", 'p', "FILE[:ROW]", GX_INDEXCTL_TEXT, AT(probe), 0, 0, "this face: one row (from 0), or each of the file"},
    {"format", '\0', "FORMAT", GX_INDEXCTL_TEXT, AT(format), 0, 0, "fvecs, npy or jsonl (default: by the file's name)"},
    {"embedder", '\0', "ID", GX_INDEXCTL_TEXT, AT(embedder), 0, 0, "what made the face (default: the gallery's)"},
    {"embedder-version", '\0', "V", GX_INDEXCTL_TEXT, AT(embedder_version), 0, 0, "its version"},
    {0},
};

const struct gx_indexctl_command gx_indexctl_absent_commands[] = {
    {"verify-absent", "NAME (--record ID… | --probe FILE[:ROW])", 1, 1, run_verify, verify_options, 3600,
     "whether a record, or a face, is really gone",
     "Looks in the search, in the store, in the ledger of expungements and, byte by byte, in every file of the "
     "server's\n"
     "data directory: for the id of the record (8 bytes or more), or for any 64 bytes in a row of the face's\n"
     "embedding. Says how much it looked at and where something was found. It does not look into backups, nor at what\n"
     "other programs were given; and a photo that another gallery holds as well is found, too.\n"
     "The exit status is 0 when all are absent, 7 when one is not.",
     "  indexctl verify-absent arrests --record photo-00012\n"
     "  indexctl verify-absent arrests --probe face.npy"},
    {0},
};
