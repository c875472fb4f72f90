/* cli_body.c: bodies from flags and files. */
#include "tools/runnel/cli_body.h"

#include "core/base/text.h"

#include <errno.h>
#include <stdio.h>

#define BODY_BYTES_MAX (10u * 1024 * 1024) /* more than any server takes */

const char *cli_base64(struct cli *c, struct str bytes)
{
    struct buf b;
    buf_init(&b, CLI_MEMORY_MAX);
    const char *out = base64_add(&b, bytes.p, bytes.n) == 0 ? cli_copy(c, buf_str(&b)) : "";
    buf_fini(&b);
    return out;
}

const char *cli_file_base64(struct cli *c, const char *flag)
{
    const char *path = cli_text(c, flag);
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "rbe");
    struct err e = {0};
    struct buf b;
    if (!f) {
        err_sys(&e, ERR_INVALID_ARGUMENT, errno, "--%s: cannot read %s", flag, path);
        cli_fail(c, &e);
        return NULL;
    }
    buf_init(&b, BODY_BYTES_MAX);
    char chunk[16384];
    bool fits = true;
    for (size_t n; fits && (n = fread(chunk, 1, sizeof chunk, f)) > 0;)
        fits = buf_add(&b, chunk, n) == 0;
    if (!fits)
        err_set(&e, ERR_INVALID_ARGUMENT, "--%s: %s is longer than %u bytes", flag, path, BODY_BYTES_MAX);
    else if (ferror(f))
        err_set(&e, ERR_INVALID_ARGUMENT, "--%s: cannot read %s to its end", flag, path);
    if (f != stdin)
        fclose(f);
    const char *out = e.code ? NULL : cli_base64(c, buf_str(&b));
    buf_fini(&b);
    if (e.code)
        cli_fail(c, &e);
    return out;
}
