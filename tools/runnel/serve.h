/** serve.h: `runnel serve`.
 *  Thread: the main thread; returns when the server has stopped. */
#ifndef TOOLS_RUNNEL_SERVE_H
#define TOOLS_RUNNEL_SERVE_H

/** `argv` without the words "runnel serve", `all` with them: it is overwritten in the process that becomes the warden. Returns the
 *  exit code. */
int serve_main(char **all, int argc, char **argv);

#endif
