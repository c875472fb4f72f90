/** cli_body.h: bodies of requests and messages as the API wants them: in base64.
 *  Errors: NULL after saying what went wrong.
 *  Thread: one. */
#ifndef TOOLS_RUNNEL_CLI_BODY_H
#define TOOLS_RUNNEL_CLI_BODY_H

#include "tools/runnel/cli.h"

const char *cli_base64(struct cli *c, struct str bytes);
/** The bytes of the file that `flag` names; "-" is standard input. */
const char *cli_file_base64(struct cli *c, const char *flag);

#endif
