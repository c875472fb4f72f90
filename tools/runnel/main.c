/* main.c: `runnel serve` is the server, `runnel __warden` the small process that starts programs for it, all else the command line. */
#include "core/base/text.h"
#include "executor/warden.h"
#include "tools/runnel/cli.h"
#include "tools/runnel/serve.h"

#include <stdio.h>

/* The server starts us as `runnel __warden FD` when the warden that it began with is lost, with its end of a socket pair at FD. */
static int warden(int argc, char **argv)
{
    uint64_t fd = 0;
    if (argc != 3 || parse_u64(str_of(argv[2]), INT32_MAX, &fd, NULL)) {
        fputs("ERROR: __warden is started by `runnel serve`, not by hand\n", stderr);
        return CLI_USAGE;
    }
    return warden_main((int)fd);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], WARDEN_WORD) == 0)
        return warden(argc, argv);
    if (argc > 1 && strcmp(argv[1], "serve") == 0)
        return serve_main(argv, argc - 2, argv + 2);
    return cli_main(argc, argv);
}
