#include "failpoint.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char armed[64];
static atomic_long passages_left;

void gx_failpoint_init(void)
{
    const char *text = getenv("INDEXD_FAILPOINT");
    if (text == NULL || strlen(text) >= sizeof(armed))
        return;
    strcpy(armed, text);
    char *colon = strchr(armed, ':');
    long n = 1;
    if (colon != NULL) {
        *colon = '\0';
        n = strtol(colon + 1, NULL, 10);
    }
    atomic_store(&passages_left, n);
}

void gx_failpoint_pass(const char *name)
{
    if (armed[0] == '\0' || strcmp(armed, name) != 0)
        return;
    if (atomic_fetch_sub(&passages_left, 1) == 1) {
        kill(getpid(), SIGKILL);
        pause();
    }
}
