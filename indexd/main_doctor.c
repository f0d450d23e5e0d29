/* The path of doctor: is it a data directory? -> lock it, so that no server runs -> list what is unknown -> with
 * --quarantine move each out, and list again.
 *
 * What can go wrong: a server runs; a file cannot be moved (said by name; those before it are moved). */
#include "main_doctor.h"

#include <inttypes.h>
#include <time.h>

#include "datadir.h"
#include "galleries.h"

struct listing {
    const struct gx_main_doctor_in *in;
    struct gx_datadir *datadir;
    FILE *out;
    size_t n;
};

static void print_json_text(FILE *out, const char *text)
{
    fputc('"', out);
    for (const unsigned char *p = (const unsigned char *)text; *p != 0; p++) {
        if (*p == '"' || *p == '\\')
            fprintf(out, "\\%c", *p);
        else if (*p < 0x20 || *p >= 0x7f) /* a name is bytes: each by itself, as in Latin-1 */
            fprintf(out, "\\u%04x", *p);
        else
            fputc(*p, out);
    }
    fputc('"', out);
}

/* On a terminal a name could do anything. */
static void print_plain_text(FILE *out, const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p != 0; p++)
        fputc(*p < 0x20 || *p == 0x7f ? '?' : *p, out);
}

static void print_time(int64_t us, char text[32])
{
    time_t seconds = (time_t)(us / 1000000);
    struct tm tm;
    if (gmtime_r(&seconds, &tm) == NULL || strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        strcpy(text, "?");
}

static void print_stray(const struct listing *l, const struct gx_datadir_stray *stray)
{
    char when[32];
    print_time(stray->modified_us, when);
    if (l->in->json) {
        fputs("{\"name\":", l->out);
        print_json_text(l->out, stray->name);
        fprintf(l->out, ",\"files\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"modified\":\"%s\",\"hint\":", stray->n_files,
                stray->n_bytes, when);
        print_json_text(l->out, stray->hint);
        fprintf(l->out, ",\"quarantined\":%s}\n", l->in->quarantine != NULL ? "true" : "false");
        return;
    }
    fprintf(l->out, "%12" PRIu64 " bytes  %s  ", stray->n_bytes, when);
    print_plain_text(l->out, stray->name);
    if (stray->is_folder)
        fprintf(l->out, "  (%" PRIu64 " files)", stray->n_files);
    if (stray->hint[0] != '\0')
        fprintf(l->out, "\n              %s", stray->hint);
    fputc('\n', l->out);
}

static enum gx_status take_stray(void *arg, const struct gx_datadir_stray *stray, struct gx_err *err)
{
    struct listing *l = arg;
    if (l->in->quarantine != NULL)
        GX_TRY(gx_datadir_quarantine(l->datadir, stray->name, l->in->quarantine, err));
    print_stray(l, stray);
    l->n++;
    return GX_OK;
}

static enum gx_status examine(struct listing *l, struct gx_err *err)
{
    GX_TRY(gx_datadir_list(l->datadir, take_stray, l, err));
    if (l->in->quarantine != NULL) {
        if (!l->in->json && l->n > 0)
            fprintf(l->out, "%zu moved to %s: look at them, then destroy them; they may hold embeddings\n", l->n,
                    l->in->quarantine);
        GX_TRY(gx_datadir_check(l->datadir, err));
    } else if (l->n > 0) {
        return gx_fail(err, GX_E_STATE,
                       "%zu unknown in the data directory: they may hold rows that were erased; move them out with "
                       "'--quarantine DIR'",
                       l->n);
    }
    if (!l->in->json)
        fputs("nothing unknown in the data directory\n", l->out);
    return GX_OK;
}

enum gx_status gx_main_doctor(const struct gx_main_doctor_in *in, FILE *out, struct gx_err *err)
{
    struct listing l = {.in = in, .out = out};
    GX_TRY(gx_galleries_check_format(in->dir, err));
    GX_TRY(gx_datadir_open(in->dir, in->own, GX_COUNT_OF(in->own), &l.datadir, err));
    enum gx_status status = examine(&l, err);
    gx_datadir_close(l.datadir);
    if (fflush(out) != 0 && status == GX_OK)
        status = gx_fail(err, GX_E_IO, "cannot write the list");
    return status;
}
