/* Records as lines of JSON: what indexctl_source.h says of .jsonl. */
#ifndef GX_INDEXCTL_JSONL_H
#define GX_INDEXCTL_JSONL_H

#include <stdbool.h>
#include <stddef.h>

#include "indexctl_fail.h"
#include "indexd/client.h"

struct gx_indexctl_document;

/* Parses one line [@len]. @name: of the file, @number: of the line from 1, both for messages. GX_E_INVALID. */
GX_MUST enum gx_status gx_indexctl_jsonl_parse(const char *name, unsigned long long number, const char *line,
                                               size_t len, struct gx_indexctl_document **out);
void gx_indexctl_jsonl_free(struct gx_indexctl_document *document);

size_t gx_indexctl_jsonl_dim(const struct gx_indexctl_document *document);
void gx_indexctl_jsonl_row(const struct gx_indexctl_document *document, float *out_row);
/* Its text is the document's. */
struct gx_client_record gx_indexctl_jsonl_record(const struct gx_indexctl_document *document);

#endif
