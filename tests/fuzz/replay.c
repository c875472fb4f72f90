/* replay.c: runs a fuzz target over files without a fuzzer: the corpus as a test of every build, or one reproducer by its path. */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

#define FILE_BYTES_MAX (16 * 1024 * 1024)
#define PATH_BYTES_MAX 4096

static int run_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    struct buf b;
    if (!f) {
        fprintf(stderr, "cannot read %s: %s\n", path, strerror(errno));
        return -1;
    }
    printf("%s\n", path); /* the last one is the one that did not end well */
    fflush(stdout);
    buf_init(&b, FILE_BYTES_MAX);
    size_t n = 1;
    while (n) {
        char *to = buf_reserve(&b, 65536);
        FUZZ_MUST(to);
        n = fread(to, 1, 65536, f);
        buf_commit(&b, n);
    }
    fclose(f);
    char *copy = fuzz_exact(buf_str(&b));
    LLVMFuzzerTestOneInput((const uint8_t *)copy, buf_len(&b));
    free(copy);
    buf_fini(&b);
    return 1;
}

/* The files that ran, or -1. */
static int run_path(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        fprintf(stderr, "cannot read %s: %s\n", path, strerror(errno));
        return -1;
    }
    if (!S_ISDIR(st.st_mode))
        return run_file(path);
    struct dirent **names;
    int n = scandir(path, &names, NULL, alphasort), ran = 0;
    for (int i = 0; i < n; i++) {
        char file[PATH_BYTES_MAX];
        bool fits = (size_t)snprintf(file, sizeof file, "%s/%s", path, names[i]->d_name) < sizeof file;
        if (fits && names[i]->d_name[0] != '.' && ran >= 0)
            ran = run_file(file) < 0 ? -1 : ran + 1;
        free(names[i]);
    }
    if (n >= 0)
        free(names);
    return n < 0 ? -1 : ran;
}

int main(int argc, char **argv)
{
    static const char *const corpus[] = {FUZZ_CORPUS};
    const char *const *paths = argc > 1 ? (const char *const *)argv + 1 : corpus;
    int count = argc > 1 ? argc - 1 : 1, total = 0;
    for (int i = 0; i < count; i++) {
        int ran = run_path(paths[i]);
        if (ran < 0)
            return 1;
        total += ran;
    }
    printf("%d inputs\n", total);
    if (total == 0)
        fprintf(stderr, "there is no input at %s\n", paths[0]);
    return total ? 0 : 1;
}
