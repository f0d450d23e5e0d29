/* Text rules: one place for wire, configuration and command line. */
#include "codec.h"

/* Bytes of the character at p[0..left), 0 when it is not well-formed UTF-8 (RFC 3629: shortest form, no surrogates, up
 * to U+10FFFF). */
static size_t character_len(const uint8_t *p, size_t left)
{
    size_t len = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
    if (len == 0 || len > left)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xf0 && p[1] < 0x90)) /* too long for its value */
        return 0;
    if ((p[0] == 0xed && p[1] >= 0xa0) || (p[0] == 0xf4 && p[1] >= 0x90)) /* surrogate; above U+10FFFF */
        return 0;
    return len;
}

/* Line separators, and characters that turn the writing direction: on an examiner's screen they disguise an id. */
static bool disguises(const uint8_t *p, size_t len)
{
    return len == 3 && p[0] == 0xe2 &&
           ((p[1] == 0x80 && p[2] >= 0xa8 && p[2] <= 0xae) || (p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9));
}

enum gx_status gx_codec_check_text(struct gx_slice text, size_t min, size_t max, const char *what, struct gx_err *err)
{
    if (text.len < min || text.len > max)
        return gx_fail(err, GX_E_INVALID, "%s must have %zu to %zu bytes", what, min, max);
    for (size_t i = 0; i < text.len;) {
        const uint8_t *p = text.data + i;
        size_t len = character_len(p, text.len - i);
        if (len == 0)
            return gx_fail(err, GX_E_INVALID, "%s is not well-formed UTF-8: encode it as UTF-8", what);
        if (p[0] < 0x20 || p[0] == 0x7f || (p[0] == 0xc2 && p[1] < 0xa0) || disguises(p, len))
            return gx_fail(err, GX_E_INVALID, "%s holds a control character: remove it", what);
        i += len;
    }
    return GX_OK;
}

enum gx_status gx_codec_check_name(struct gx_slice name, struct gx_err *err)
{
    bool ok = name.len >= 1 && name.len <= GX_NAME_MAX;
    for (size_t i = 0; i < name.len && ok; i++) {
        uint8_t c = name.data[i];
        bool alphanumeric = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        ok = alphanumeric || (i > 0 && (c == '.' || c == '_' || c == '-'));
    }
    if (ok)
        return GX_OK;
    return gx_fail(
        err, GX_E_INVALID,
        "a gallery name must have 1 to %d letters, digits, '.', '_' or '-', and begin with a letter or digit",
        GX_NAME_MAX);
}
