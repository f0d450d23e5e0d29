/* Every limit of the interface, for clients and server. */
#ifndef INDEXD_LIMITS_H
#define INDEXD_LIMITS_H

#define GX_DIM_MIN           2
#define GX_DIM_MAX           4096
#define GX_NAME_MAX          64          /* gallery name, bytes: [A-Za-z0-9][A-Za-z0-9._-]* */
#define GX_ID_MAX            128         /* record, subject, arrest id: bytes of UTF-8 without control characters */
#define GX_EMBEDDER_MAX      64          /* embedder id and version, bytes each */
#define GX_ENGINE_MAX        96          /* engine text, bytes */
#define GX_ORDER_REF_MAX     256         /* order reference of an expungement, bytes */
#define GX_BACKUP_DIR_MAX    256         /* directory of a backup, bytes */
#define GX_BACKUP_DAYS_MAX   36500       /* until a backup expires */
#define GX_REQUEST_ID_MAX    64          /* request id of a mutation, bytes; a UUID fits */
#define GX_ATTRIBUTES_MAX    16          /* attributes of one record */
#define GX_ATTRIBUTE_KEY_MAX 64          /* bytes */
#define GX_ATTRIBUTE_MAX     256         /* attribute value, bytes */
#define GX_K_MAX             1000        /* candidates of one search */
#define GX_BATCH_PROBES_MAX  256         /* probes of one BatchSearch */
#define GX_BATCH_RESULTS_MAX 100000      /* probes x k of one BatchSearch: keeps the reply under the message limit */
#define GX_INSERT_MAX        1000        /* records of one Insert */
#define GX_EXPUNGE_IDS_MAX   10000       /* ids named in one Expunge */
#define GX_EXPUNGE_MAX       1000000     /* records one Expunge may remove */
#define GX_FILTER_VALUES_MAX 1000        /* subjects, and attribute conditions, of one filter */
#define GX_PAGE_MAX          1000        /* records or tickets of one page */
#define GX_GALLERIES_MAX     256         /* galleries of one server */
#define GX_MESSAGE_MAX       (16u << 20) /* bytes of one request message */
#define GX_STREAM_WINDOW_MAX 64          /* InsertStream messages not yet acknowledged */

#endif
