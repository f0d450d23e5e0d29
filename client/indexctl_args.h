/* Words and options of a command line, by tables. */
#ifndef GX_INDEXCTL_ARGS_H
#define GX_INDEXCTL_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "indexctl_fail.h"

struct gx_indexctl_list {
    const char **items; /* borrowed from argv */
    size_t n;
};
struct gx_indexctl_integer {
    bool given;
    int64_t value;
};
struct gx_indexctl_real {
    bool given;
    double value;
};

/* The values of all options of all commands: a command's table says which it has. Text is borrowed from argv. */
struct gx_indexctl_args {
    struct gx_indexctl_list words; /* what is no option */
    /* of indexctl itself */
    const char *server;
    struct gx_indexctl_real deadline_s;
    bool json, quiet, help, version;
    /* galleries */
    struct gx_indexctl_integer dim;
    const char *embedder, *embedder_version, *engine;
    bool wait, yes;
    /* tuning */
    struct gx_indexctl_real effort;
    struct gx_indexctl_integer nprobe, ef_search, candidates;
    /* search, measure */
    const char *probe, *format;
    struct gx_indexctl_integer k, probes, seed, after_epoch;
    bool exact, by_subject;
    struct gx_indexctl_real min_cosine;
    struct gx_indexctl_integer captured_from_us, captured_until_us;
    struct gx_indexctl_list attributes;
    /* import */
    const char *records_file, *subjects_file, *arrests_file;
    struct gx_indexctl_integer skip, batch;
    bool skip_expunged;
    /* records, expunge, tickets */
    struct gx_indexctl_list records, arrests, subjects;
    bool embedding, dry_run, skip_held;
    struct gx_indexctl_integer limit, expect;
    const char *from, *kind, *order, *request_id, *gallery, *results;
    /* backups */
    struct gx_indexctl_integer expires_days;
    bool files_gone, all;
    /* certificates */
    const char *key_file, *previous_file, *out_file;
    /* holds */
    const char *reference;
    bool quarantine;
};

enum gx_indexctl_type {
    GX_INDEXCTL_FLAG,    /* bool */
    GX_INDEXCTL_TEXT,    /* const char *, not empty */
    GX_INDEXCTL_LIST,    /* struct gx_indexctl_list: may be given again and again */
    GX_INDEXCTL_INTEGER, /* struct gx_indexctl_integer, min..max */
    GX_INDEXCTL_REAL,    /* struct gx_indexctl_real, min..max */
    GX_INDEXCTL_TIME     /* struct gx_indexctl_integer: microseconds, written as RFC 3339 */
};

/* A table of options ends with a row without a name. */
struct gx_indexctl_option {
    const char *name;  /* without the dashes */
    char letter;       /* '\0' = none */
    const char *value; /* its name in the help; NULL for a flag */
    enum gx_indexctl_type type;
    size_t offset; /* in struct gx_indexctl_args */
    double min, max;
    const char *help;
};

/* Every command has these. */
extern const struct gx_indexctl_option gx_indexctl_args_common[];

/* Reads argv[0..argc) by both tables (@options may be NULL); adds to *out. Options and words may be mixed, "--" ends
 * the options. @until_word: stops at the first word; @out_n tells how many arguments were read (may be NULL).
 * GX_E_INVALID with the line to print. The lists are released by gx_indexctl_args_fini, also after a failure. */
GX_MUST enum gx_status gx_indexctl_args_parse(const struct gx_indexctl_option *options, int argc, char **argv,
                                              bool until_word, struct gx_indexctl_args *out, int *out_n);
void gx_indexctl_args_fini(struct gx_indexctl_args *args);

/* "12" to 12; false: no integer, or out of range. */
bool gx_indexctl_args_integer(const char *text, int64_t min, int64_t max, int64_t *out);

#endif
