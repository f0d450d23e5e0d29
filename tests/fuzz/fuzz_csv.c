/* Any bytes as a list of ids: refused with a line of text, or read to ids that keep the promises of indexctl_csv.h and
 * that are read again the same when they are written. */
#include <stdlib.h>
#include <string.h>

#include "indexctl_csv.h"

#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            abort();                                                                                                   \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_again(const struct gx_indexctl_csv *csv)
{
    char *text;
    size_t len;
    struct gx_indexctl_csv again;
    FILE *memory = open_memstream(&text, &len);
    REQUIRE(memory != NULL);
    (void)fprintf(memory, "x,%s\n", gx_indexctl_csv_title(csv->kind));
    for (size_t i = 0; i < csv->n; i++) {
        (void)fputs("1,", memory);
        gx_indexctl_csv_put(memory, csv->rows[i].id);
        (void)fputc('\n', memory);
    }
    REQUIRE(fclose(memory) == 0);
    REQUIRE(gx_indexctl_csv_parse("again", text, len, NULL, &again) == GX_OK);
    REQUIRE(again.n == csv->n && again.kind == csv->kind);
    for (size_t i = 0; i < csv->n; i++)
        REQUIRE(strcmp(again.rows[i].id, csv->rows[i].id) == 0 && again.rows[i].line == i + 2);
    gx_indexctl_csv_fini(&again);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gx_indexctl_csv csv;
    enum gx_status status = gx_indexctl_csv_parse("list", (const char *)data, size, NULL, &csv);
    REQUIRE(status == GX_OK || (status == GX_E_INVALID && gx_indexctl_fail_text()[0] != '\0'));
    for (size_t i = 0; status == GX_OK && i < csv.n; i++) {
        size_t len = strlen(csv.rows[i].id);
        REQUIRE(len >= 1 && len <= GX_ID_MAX && csv.rows[i].line > (i > 0 ? csv.rows[i - 1].line : 1));
    }
    if (status == GX_OK) {
        REQUIRE(csv.n > 0);
        write_again(&csv);
    }
    gx_indexctl_csv_fini(&csv);
    return 0;
}
