/** support.c: the fake clock and env, and temporary directories. */
#include "tests/support/support.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define TMPDIRS_MAX 64
#define TMPDIR_PATH_MAX 256
/* More firings in one advance than any test means: a timer that arms itself for now would go on for ever. */
#define ADVANCE_FIRINGS_MAX 10000000

static int64_t fake_mono(void *ctx) { return ((struct fake_clock *)ctx)->mono_ns; }
static int64_t fake_wall(void *ctx) { return ((struct fake_clock *)ctx)->wall_ns; }

void fake_clock_init(struct fake_clock *fc) { *fc = (struct fake_clock){FAKE_MONO_NS, FAKE_WALL_NS, {fake_mono, fake_wall, fc}}; }

void fake_clock_move(struct fake_clock *fc, int64_t ns)
{
    fc->mono_ns += ns;
    fc->wall_ns += ns;
}

void support_env(struct fake_env *fe)
{
    fake_clock_init(&fe->clock);
    rng_seed(&fe->rng, 1);
    fe->env = (struct env){&fe->clock.clock, &fe->rng, timers_new(), log_null()};
    fe->log_fd = -1;
    if (!fe->env.timers)
        abort();
}

void support_log(struct fake_env *fe)
{
    fe->log_fd = memfd_create("log", MFD_CLOEXEC);
    fe->env.log = fe->log_fd < 0 ? NULL : log_new(fe->log_fd, false, LOG_WARN, &fe->clock.clock);
    if (!fe->env.log)
        abort();
}

size_t fake_log(struct fake_env *fe, const char *text)
{
    char line[LOG_LINE_MAX + 1];
    size_t n = 0;
    int copy = dup(fe->log_fd);
    FILE *f = copy < 0 ? NULL : fdopen(copy, "r");
    if (!f)
        abort();
    rewind(f);
    while (fgets(line, sizeof line, f))
        n += strstr(line, text) != NULL;
    fseek(f, 0, SEEK_END); /* which the log writes at, too */
    fclose(f);
    return n;
}

void support_env_fini(struct fake_env *fe)
{
    timers_free(fe->env.timers);
    fe->env.timers = NULL;
    if (fe->log_fd < 0)
        return;
    log_free(fe->env.log);
    close(fe->log_fd);
    fe->log_fd = -1;
}

size_t fake_env_advance(struct fake_env *fe, int64_t ns)
{
    int64_t end_ns = fe->clock.mono_ns + ns;
    size_t fired = 0;
    for (int64_t due_ns; (due_ns = timers_next_ns(fe->env.timers)) <= end_ns;) {
        if (due_ns > fe->clock.mono_ns)
            fake_clock_move(&fe->clock, due_ns - fe->clock.mono_ns);
        fired += timers_run(fe->env.timers, fe->clock.mono_ns);
        if (fired > ADVANCE_FIRINGS_MAX) {
            fprintf(stderr, "fake_env_advance: a timer keeps arming itself for now\n");
            abort();
        }
    }
    fake_clock_move(&fe->clock, end_ns - fe->clock.mono_ns);
    return fired;
}

static char tmpdirs[TMPDIRS_MAX][TMPDIR_PATH_MAX];
static size_t tmpdir_count;
static pid_t tmpdir_owner;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where) { return remove(path); }

void support_remove(const char *path) { nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS); }

static void remove_tmpdirs(void)
{
    if (getpid() != tmpdir_owner)
        return; /* a forked child leaves: the directories are its parent's */
    for (size_t i = 0; i < tmpdir_count; i++)
        support_remove(tmpdirs[i]);
}

const char *support_tmpdir(void)
{
    if (tmpdir_count == TMPDIRS_MAX) {
        fprintf(stderr, "support_tmpdir: more than %d directories\n", TMPDIRS_MAX);
        abort();
    }
    const char *base = getenv("TMPDIR");
    char *path = tmpdirs[tmpdir_count];
    snprintf(path, TMPDIR_PATH_MAX, "%s/runnel-test-XXXXXX", base && *base ? base : "/tmp");
    if (!mkdtemp(path)) {
        perror(path);
        abort();
    }
    if (tmpdir_count++ == 0) {
        tmpdir_owner = getpid();
        atexit(remove_tmpdirs);
    }
    return path;
}
