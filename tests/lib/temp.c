#include "temp.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void fail(const char *path)
{
    perror(path);
    exit(EXIT_FAILURE);
}

static void make_template(const char *name, char *out, size_t size)
{
    const char *tmp = getenv("TMPDIR");
    int len = snprintf(out, size, "%s/indexd-%s-XXXXXX", tmp == NULL ? "/tmp" : tmp, name);
    if (len >= 0 && (size_t)len < size)
        return;
    fprintf(stderr, "TMPDIR is too long for a test: choose a shorter one\n");
    exit(EXIT_FAILURE);
}

void gx_temp_folder(const char *name, char *out, size_t size)
{
    make_template(name, out, size);
    if (mkdtemp(out) == NULL)
        fail(out);
}

int gx_temp_file(const char *name, char *out, size_t size)
{
    make_template(name, out, size);
    int fd = mkstemp(out);
    if (fd < 0)
        fail(out);
    return fd;
}

int gx_temp_nameless_file(void)
{
    char path[256];
    int fd = gx_temp_file("file", path, sizeof(path));
    if (unlink(path) != 0)
        fail(path);
    return fd;
}
