/* A command of indexctl is a row: its words, what it takes, what it does, its help. */
#ifndef GX_INDEXCTL_COMMAND_H
#define GX_INDEXCTL_COMMAND_H

#include <stdio.h>

#include "indexctl_args.h"
#include "indexd/client.h"

/* What a command works with. */
struct gx_indexctl_session {
    gx_client *client;
    const struct gx_indexctl_args *args; /* words are the operands */
    FILE *out;
    int64_t wait_us; /* how long --wait and watch wait in all */
};

typedef enum gx_status gx_indexctl_run(struct gx_indexctl_session *session);

struct gx_indexctl_command {
    const char *words; /* "gallery create" */
    const char *usage; /* what stands behind the words */
    size_t min_operands, max_operands;
    gx_indexctl_run *run;                     /* leaves the line of a failure in indexctl_fail */
    const struct gx_indexctl_option *options; /* NULL: none of its own */
    int64_t deadline_s;                       /* of its calls unless told; 0 = the library's default */
    const char *summary;                      /* a line */
    const char *about;                        /* paragraphs; NULL: the summary says it all */
    const char *examples;
};

/* Tables by theme; each ends with a row without words. */
extern const struct gx_indexctl_command gx_indexctl_gallery_commands[];
extern const struct gx_indexctl_command gx_indexctl_import_commands[];
extern const struct gx_indexctl_command gx_indexctl_search_commands[];
extern const struct gx_indexctl_command gx_indexctl_record_commands[];
extern const struct gx_indexctl_command gx_indexctl_expunge_commands[];
extern const struct gx_indexctl_command gx_indexctl_absent_commands[];
extern const struct gx_indexctl_command gx_indexctl_certificate_commands[];
extern const struct gx_indexctl_command gx_indexctl_hold_commands[];
extern const struct gx_indexctl_command gx_indexctl_backup_commands[];
extern const struct gx_indexctl_command gx_indexctl_stats_commands[];

/* The command that argv[0..argc) begins with, and how many words it has; NULL with the line of the failure. */
const struct gx_indexctl_command *gx_indexctl_command_find(int argc, char **argv, int *out_words);

/* All commands in a list. */
void gx_indexctl_command_overview(FILE *out);
void gx_indexctl_command_help(FILE *out, const struct gx_indexctl_command *command);

/* The tuning options of search and measure. */
#define GX_INDEXCTL_TUNING_OPTIONS                                                                                     \
    {"effort",                                                                                                         \
     '\0',                                                                                                             \
     "X",                                                                                                              \
     GX_INDEXCTL_REAL,                                                                                                 \
     offsetof(struct gx_indexctl_args, effort),                                                                        \
     0,                                                                                                                \
     1,                                                                                                                \
     "how hard the engine tries, 0 to 1 (default: the gallery's)"},                                                    \
        {"nprobe",                                                                                                     \
         '\0',                                                                                                         \
         "N",                                                                                                          \
         GX_INDEXCTL_INTEGER,                                                                                          \
         offsetof(struct gx_indexctl_args, nprobe),                                                                    \
         1,                                                                                                            \
         1e9,                                                                                                          \
         "IVF engines: lists looked at"},                                                                              \
        {"ef-search",                                                                                                  \
         '\0',                                                                                                         \
         "N",                                                                                                          \
         GX_INDEXCTL_INTEGER,                                                                                          \
         offsetof(struct gx_indexctl_args, ef_search),                                                                 \
         1,                                                                                                            \
         10000,                                                                                                        \
         "HNSW engines: width of the beam"},                                                                           \
    {                                                                                                                  \
        "candidates", '\0', "N", GX_INDEXCTL_INTEGER, offsetof(struct gx_indexctl_args, candidates), 1, 100000,        \
            "rows that are scored exactly"                                                                             \
    }

/* Their values. */
struct gx_client_tuning gx_indexctl_command_tuning(const struct gx_indexctl_args *args);

#endif
