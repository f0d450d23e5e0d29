/* Any bytes as a certificate: refused with a line of text, or read, and then its page can be printed: lines that fit,
 * no control characters. */
#include <stdlib.h>
#include <string.h>

#include "indexd/client.h"

#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            abort();                                                                                                   \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_page(const struct gx_client_certificate *c)
{
    char *text;
    size_t column = 0;
    REQUIRE(gx_client_certificate_text(c, &text) == GX_OK && !c->checked);
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
        REQUIRE(*p == '\n' || (*p >= 0x20 && *p != 0x7f));
        column = *p == '\n' ? 0 : column + ((*p & 0xc0) != 0x80);
        REQUIRE(column <= 80);
    }
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gx_client_certificate *c = NULL;
    uint8_t *exact = malloc(size); /* its own piece, so that reading one byte too many is seen */
    REQUIRE(exact != NULL || size == 0);
    if (size > 0)
        memcpy(exact, data, size);
    enum gx_status status = gx_client_certificate_read(exact, size, &c);
    REQUIRE((status == GX_OK) == (c != NULL) && (status == GX_OK) == (gx_client_error()[0] == '\0'));
    if (c != NULL) {
        check_page(c);
        REQUIRE(gx_client_certificate_follows(c, c) == GX_E_CORRUPT);
    }
    gx_client_certificate_free(c);
    free(exact);
    return 0;
}
