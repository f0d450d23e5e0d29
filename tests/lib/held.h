/* Is something in a file? By the plainest means, as the judge over whatever the server looks with. */
#ifndef GX_HELD_H
#define GX_HELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GX_HELD_WINDOW   64
#define GX_HELD_PATH_MAX 512

/* Told of everything that was written into a file, in pieces of any length, with where they begin in it. */
typedef void gx_held_piece(void *arg, const char *path, size_t offset, const uint8_t *bytes, size_t len);
/* Every file below @dir. Asserts that each can be read. */
void gx_held_visit(const char *dir, gx_held_piece *piece, void *arg);

/* How often @bytes stand in the files below @dir. Asserts that every file can be read. */
size_t gx_held_count(const char *dir, const void *bytes, size_t len);
/* A place where they stand; false: nowhere. */
bool gx_held_find(const char *dir, const void *bytes, size_t len, char out_path[GX_HELD_PATH_MAX], size_t *out_offset);
/* As count, for every window of GX_HELD_WINDOW bytes that begins at a multiple of 32 in @bytes: no longer piece of them
 * goes unseen. */
size_t gx_held_windows(const char *dir, const void *bytes, size_t len);

#endif
