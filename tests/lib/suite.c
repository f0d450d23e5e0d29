#include "suite.h"
#include "temp.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[200];

int gx_suite_run(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *place)
{
    (void)info;
    (void)type;
    (void)place;
    return remove(path);
}

int gx_suite_run_in_folder(Suite *suite)
{
    gx_temp_folder("suite", folder, sizeof(folder));
    int status = gx_suite_run(suite);
    nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return status;
}

const char *gx_suite_folder(void)
{
    return folder;
}

void gx_suite_new_path(char out[256])
{
    static int n = 0;
    snprintf(out, 256, "%s/%d-%d", folder, (int)getpid(), n++);
}
