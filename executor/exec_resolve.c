/** exec_resolve.c: finds the program of an exec image. */
#include "executor/exec_resolve.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SCHEME "exec://"

static bool runnable(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

static bool join(char out[PATH_MAX], const char *dir, size_t dir_len, const char *name)
{
    int n = snprintf(out, PATH_MAX, "%.*s/%s", (int)dir_len, dir, name);
    return n > 0 && n < PATH_MAX;
}

static bool in_path(const char *name, char out[PATH_MAX])
{
    const char *path = getenv("PATH");
    if (!path || !*path)
        path = EXEC_PATH_DEFAULT;
    for (const char *p = path; *p;) {
        size_t len = strcspn(p, ":");
        if (len > 0 && *p == '/' && join(out, p, len, name) && runnable(out))
            return true;
        p += len + (p[len] == ':');
    }
    return false;
}

static int find_program(const char *image, const char *name, struct exec_program *out, struct err *e)
{
    if (name[0] == '/') {
        if (snprintf(out->program, PATH_MAX, "%s", name) < PATH_MAX && runnable(name))
            return 0;
        return err_set(e, ERR_INVALID_ARGUMENT, "command '%.200s' is not an executable file on this machine", name);
    }
    if (join(out->program, out->dir, strlen(out->dir), name) && runnable(out->program))
        return 0;
    if (!strchr(name, '/') && in_path(name, out->program))
        return 0;
    return err_set(e, ERR_INVALID_ARGUMENT, "command '%.100s' is neither an executable file in %.100s nor a program in the server's PATH",
                   name, image + strlen(SCHEME));
}

static int enter_dir(const char *working_dir, struct exec_program *out, struct err *e)
{
    char dir[PATH_MAX];
    struct stat st;
    int n = working_dir[0] == '/' ? snprintf(dir, PATH_MAX, "%s", working_dir)
                                  : snprintf(dir, PATH_MAX, "%.2000s/%.2000s", out->dir, working_dir);
    if (n >= PATH_MAX || stat(dir, &st) != 0 || !S_ISDIR(st.st_mode))
        return err_set(e, ERR_INVALID_ARGUMENT, "working_dir '%.200s' is not a directory on this machine", working_dir);
    memcpy(out->dir, dir, (size_t)n + 1);
    return 0;
}

int exec_resolve(const char *image, const char *const *argv, const char *working_dir, struct exec_program *out, struct err *e)
{
    struct stat st;
    memset(out, 0, sizeof *out);
    if (strncmp(image, SCHEME, strlen(SCHEME)) != 0)
        return err_set(e, ERR_UNIMPLEMENTED,
                       "image '%.150s': this server runs plain programs only; give the directory that holds "
                       "yours as exec:///directory with a command, or the program itself as exec:///path",
                       image);
    const char *path = image + strlen(SCHEME);
    if (path[0] != '/' || strlen(path) >= PATH_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "image '%.200s' must name an absolute path: exec:///directory", image);
    if (stat(path, &st) != 0)
        return err_set(e, ERR_INVALID_ARGUMENT, "image '%.200s': there is no such directory or file on this machine", image);
    bool is_file = S_ISREG(st.st_mode);
    if (!is_file && !S_ISDIR(st.st_mode))
        return err_set(e, ERR_INVALID_ARGUMENT, "image '%.200s' is neither a directory nor an executable file", image);
    snprintf(out->dir, PATH_MAX, "%s", path);
    if (is_file) {
        char *slash = strrchr(out->dir, '/');
        slash[slash == out->dir] = '\0';
    }
    const char *name = argv && argv[0] ? argv[0] : "";
    int rc;
    if (*name) {
        rc = find_program(image, name, out, e);
    } else if (!is_file) {
        return err_set(e, ERR_INVALID_ARGUMENT,
                       "image '%.150s' is a directory: say which program in it to run with `command`, "
                       "or give the program itself as the image",
                       image);
    } else {
        out->own = true;
        rc = runnable(path) ? 0 : err_set(e, ERR_INVALID_ARGUMENT, "image '%.200s' is not an executable file", image);
        snprintf(out->program, PATH_MAX, "%s", path);
    }
    return rc || !working_dir || !*working_dir ? rc : enter_dir(working_dir, out, e);
}
