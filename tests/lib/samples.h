/* One of each kind of value that the store holds, every field of it set to something else. */
#ifndef GX_SAMPLES_H
#define GX_SAMPLES_H

#include "codec.h"

struct gx_record gx_samples_record(void);
struct gx_gallery_meta gx_samples_gallery(void);
struct gx_ticket gx_samples_ticket(void);

#endif
