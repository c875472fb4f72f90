/** test_runtime_exec.c: real programs under a real warden: how they start, what they write, how they end, and that nothing of
 *  them is left, whatever they did and however the server ended. This program also plays the warden and the server. */
#include "tests/support/unit.h"

#include "core/loop/loop.h"
#include "executor/runtime.h"
#include "executor/warden.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_NS (20 * NS_PER_S)
#define LINES_KEPT 8
#define POLL_NS (2 * NS_PER_MS)

static char self_path[4096];
static struct warden_process first_warden; /* of the played server: it forks it, as the real one does */
static struct loop *loop;
static struct rng rng;
static struct env env;
static struct runtime *rt;
static uint64_t lane; /* of what is started; 0: none */
static uint32_t lane_width;

struct watch {
    struct runtime_instance *inst;
    bool started, exited;
    int64_t pid;
    uint16_t port;
    struct runtime_exit exit;
    size_t n_lines, n_bytes, longest;
    char lines[LINES_KEPT][128];
    bool is_stderr[LINES_KEPT];
};

static void on_started(void *arg, int64_t pid, uint16_t port)
{
    struct watch *w = arg;
    assert_false(w->started);
    w->started = true;
    w->pid = pid;
    w->port = port;
}

static void on_line(void *arg, bool is_stderr, struct str line, int64_t wall_ns)
{
    struct watch *w = arg;
    assert_false(w->exited);
    assert_true(wall_ns > FAKE_WALL_NS);
    if (w->n_lines < LINES_KEPT) {
        snprintf(w->lines[w->n_lines], sizeof w->lines[0], "%.*s", (int)line.n, line.p);
        w->is_stderr[w->n_lines] = is_stderr;
    }
    w->longest = line.n > w->longest ? line.n : w->longest;
    w->n_bytes += line.n;
    w->n_lines++;
}

static void on_exit_event(void *arg, const struct runtime_exit *x)
{
    struct watch *w = arg;
    assert_false(w->exited);
    w->exited = true;
    w->exit = *x;
}
static const struct runtime_events events = {on_started, on_line, on_exit_event};

/* Turn the loop until `cond(arg)`; fails the test when that takes longer than any machine needs. */
struct until {
    struct timer timer;
    bool (*cond)(void *arg);
    void *arg;
    int64_t give_up_ns;
};

static void on_until(struct timer *t, int64_t now_ns)
{
    struct until *u = CONTAINER_OF(t, struct until, timer);
    struct err e;
    if (u->cond(u->arg) || now_ns > u->give_up_ns)
        loop_stop(loop);
    else
        assert_int_equal(timer_set(loop_timers(loop), t, now_ns + POLL_NS, &e), 0);
}

static void run_until(bool (*cond)(void *arg), void *arg)
{
    struct until u = {.cond = cond, .arg = arg, .give_up_ns = clock_mono_ns(clock_real()) + PATIENCE_NS};
    struct err e;
    timer_init(&u.timer, on_until);
    assert_int_equal(timer_set(loop_timers(loop), &u.timer, clock_mono_ns(clock_real()), &e), 0);
    loop_run(loop);
    timer_cancel(loop_timers(loop), &u.timer);
    assert_true(cond(arg));
}

static bool is_started(void *arg) { return ((struct watch *)arg)->started; }
static bool is_exited(void *arg) { return ((struct watch *)arg)->exited; }
static bool has_line(void *arg) { return ((struct watch *)arg)->n_lines > 0; }
static bool has_two_lines(void *arg) { return ((struct watch *)arg)->n_lines > 1; }
static bool has_many_lines(void *arg) { return ((struct watch *)arg)->n_lines > 3000; }
static bool is_true(void *arg) { return *(bool *)arg; }

static void set_true(void *arg) { *(bool *)arg = true; }

static int setup(void **state)
{
    struct err e;
    loop = loop_new(&e);
    if (!loop)
        return -1;
    rng_seed(&rng, 1);
    env = (struct env){loop_clock(loop), &rng, loop_timers(loop), log_null()};
    rt = runtime_exec_new(&env, loop_mailbox(loop), self_path, first_warden.pid ? &first_warden : NULL, -1, &e);
    return rt ? 0 : -1;
}

static struct watch at_the_end[2]; /* what runs and what waits for its lane when the runtime is closed */

static int teardown(void **state)
{
    bool closed = false;
    if (rt)
        rt->ops->close(rt, set_true, &closed);
    run_until(is_true, &closed);
    for (size_t i = 0; i < ARRAY_LEN(at_the_end); i++)
        assert_true(!at_the_end[i].inst || at_the_end[i].exited);
    loop_free(loop);
    return 0;
}

static int in_lane(void **state)
{
    lane = 7;
    lane_width = 100;
    return 0;
}

static int in_no_lane(void **state)
{
    lane = lane_width = 0;
    return 0;
}

static int try_start_with(struct watch *w, const char *const *argv, const char *image, struct runtime_spec spec, struct err *e)
{
    static unsigned n;
    char id[64];
    snprintf(id, sizeof id, "t%d-%u", (int)getpid(), n++);
    const char *const vars[] = {"FOO=bar baz", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", NULL};
    spec.id = id;
    spec.image = image;
    spec.argv = argv;
    spec.env = vars;
    spec.wants_port = true;
    spec.lane = lane;
    spec.lane_width = lane_width;
    *w = (struct watch){0};
    return rt->ops->start(rt, &spec, &events, w, &w->inst, e);
}

static int try_start(struct watch *w, const char *const *argv, const char *image, struct err *e)
{
    return try_start_with(w, argv, image, (struct runtime_spec){0}, e);
}

static void start_sh(struct watch *w, const char *script)
{
    const char *const argv[] = {"/bin/sh", "-c", script, NULL};
    struct err e;
    if (try_start(w, argv, "exec:///tmp", &e))
        fail_msg("start: %s", e.msg);
}

static void test_how_programs_end(void **state)
{
    static const struct {
        const char *name, *script, *why;
        int code, signal;
    } cases[] = {
        {"an end without trouble is code 0", "exit 0", "exited with code 0", 0, 0},
        {"its code is passed on", "exit 7", "exited with code 7", 7, 0},
        {"a signal is told from a code", "kill -9 $$", "ended by signal 9 (Killed)", -1, 9},
        {"a command that is missing shows as the shell's code", "exec /no/such 2>/dev/null", "exited with code 127", 127, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct watch w;
        start_sh(&w, cases[i].script);
        run_until(is_exited, &w);
        CASE_TRUE(cases[i].name, w.exit.started && w.started);
        CASE_INT(cases[i].name, w.exit.exit_code, cases[i].code);
        CASE_INT(cases[i].name, w.exit.signal, cases[i].signal);
        CASE_STR(cases[i].name, w.exit.why, cases[i].why);
    }
}

static void test_what_programs_write(void **state)
{
    static const struct {
        const char *name, *script, *want;
        bool is_stderr;
    } cases[] = {
        {"a line of stdout", "echo hello", "hello", false},
        {"a line of stderr", "echo oh >&2", "oh", true},
        {"a last line without its end", "printf 'no end'", "no end", false},
        {"the end of a Windows line is taken off", "printf 'dos\\r\\n'", "dos", false},
        {"the environment is there", "echo \"$FOO\"", "bar baz", false},
        {"the directory is the image's", "pwd", "/tmp", false},
        {"standard input is empty", "read x || echo none", "none", false},
        {"signals are at their defaults", "exec 2>/dev/null; sleep 5 & kill $!; wait $!; echo $?", "143", false},
        {"it leads its own session", "ps -o sid= -p $$ | grep -qw $$ && echo leader", "leader", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct watch w;
        start_sh(&w, cases[i].script);
        run_until(is_exited, &w);
        CASE_INT(cases[i].name, w.n_lines, 1);
        CASE_STR(cases[i].name, w.lines[0], cases[i].want);
        CASE_INT(cases[i].name, w.is_stderr[0], cases[i].is_stderr);
    }
}

static void test_a_long_line_is_cut_and_marked(void **state)
{
    struct watch w;
    start_sh(&w, "head -c 100000 /dev/zero | tr '\\0' x; echo; echo next");
    run_until(is_exited, &w);
    assert_int_equal(w.n_lines, 2);
    assert_int_equal(w.longest, RUNTIME_LINE_MAX);
    assert_string_equal(w.lines[1], "next");
}

static void test_the_port_is_told_twice(void **state)
{
    struct watch w;
    char port[16];
    start_sh(&w, "echo $PORT");
    run_until(is_exited, &w);
    snprintf(port, sizeof port, "%u", w.port);
    assert_true(w.port > 0);
    assert_string_equal(w.lines[0], port);
}

static void test_what_cannot_be_run(void **state)
{
    char plain[256], bad[256], image[300], bad_image[300];
    snprintf(plain, sizeof plain, "%s/plain", support_tmpdir());
    snprintf(bad, sizeof bad, "%s/bad", support_tmpdir());
    for (int i = 0; i < 2; i++) {
        FILE *f = fopen(i ? bad : plain, "w");
        assert_non_null(f);
        fputs("neither a script nor a program\n", f);
        fchmod(fileno(f), i ? 0755 : 0644);
        fclose(f);
    }
    snprintf(image, sizeof image, "exec://%s", plain);
    snprintf(bad_image, sizeof bad_image, "exec://%s", bad);
    const struct {
        const char *name, *image, *command, *says;
        enum err_code code;
    } cases[] = {
        {"another kind of image", "docker://nginx", NULL, "plain programs only", ERR_UNIMPLEMENTED},
        {"a relative path", "exec://dir", NULL, "absolute path", ERR_INVALID_ARGUMENT},
        {"a directory that is not there", "exec:///no/such/dir", "x", "no such directory", ERR_INVALID_ARGUMENT},
        {"a directory without a command", "exec:///tmp", NULL, "`command`", ERR_INVALID_ARGUMENT},
        {"a command that is nowhere", "exec:///tmp", "no-such-program", "PATH", ERR_INVALID_ARGUMENT},
        {"a file without permission to execute", image, NULL, "not an executable", ERR_INVALID_ARGUMENT},
        {"a device", "exec:///dev/null", NULL, "neither a directory", ERR_INVALID_ARGUMENT},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct watch w;
        struct err e = {0};
        const char *const argv[] = {cases[i].command, NULL};
        CASE_INT(cases[i].name, rt->ops->check(rt, cases[i].image, argv, &e), -(int)cases[i].code);
        CASE_TRUE(cases[i].name, strstr(e.msg, cases[i].says));
        CASE_INT(cases[i].name, try_start(&w, argv, cases[i].image, &e), -(int)cases[i].code);
    }
    struct watch w;
    struct err e;
    const char *const none[] = {NULL};
    assert_int_equal(try_start(&w, none, bad_image, &e), 0);
    run_until(is_exited, &w);
    assert_false(w.exit.started);
    assert_false(w.started);
    assert_non_null(strstr(w.exit.why, "could not be executed"));
}

/* Gone, or dead and only not yet reaped by a slow process 1. */
static bool pid_gone(void *arg)
{
    char path[64], text[512] = "";
    snprintf(path, sizeof path, "/proc/%ld/stat", *(long *)arg);
    FILE *f = fopen(path, "r");
    if (!f)
        return true;
    bool read_it = fgets(text, sizeof text, f) != NULL;
    fclose(f);
    const char *after = strrchr(text, ')');
    return !read_it || (after && after[2] == 'Z');
}

static void test_nothing_is_left_when_the_leader_ends(void **state)
{
    static const struct {
        const char *name, *script;
    } cases[] = {
        {"a child in the background", "sleep 1000 & echo $!"},
        {"a child in its own session", "setsid sleep 1000 & echo $!; sleep 0.05"},
        {"a daemon whose parent has gone", "sh -c 'setsid sleep 1000 & echo $!' ; sleep 0.05"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct watch w;
        start_sh(&w, cases[i].script);
        run_until(is_exited, &w);
        long pid = strtol(w.lines[0], NULL, 10);
        CASE_TRUE(cases[i].name, pid > 1);
        CASE_TRUE(cases[i].name, pid_gone(&pid));
    }
}

static void test_signals_and_kill(void **state)
{
    struct watch polite, deaf;
    start_sh(&polite, "exec 2>/dev/null; trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.01; done");
    start_sh(&deaf, "trap '' TERM; echo ready; sleep 1000 & while :; do sleep 0.01; done");
    run_until(has_line, &polite);
    run_until(has_line, &deaf);
    rt->ops->signal(rt, polite.inst, SIGTERM);
    rt->ops->signal(rt, deaf.inst, SIGTERM);
    run_until(is_exited, &polite);
    assert_int_equal(polite.exit.exit_code, 3);
    assert_string_equal(polite.lines[1], "bye");
    assert_false(deaf.exited);
    rt->ops->kill(rt, deaf.inst);
    run_until(is_exited, &deaf);
    assert_int_equal(deaf.exit.signal, SIGKILL);
}

/* Each says how many there are, itself included, and ends when its file is there. */
static void test_a_lane_is_as_wide_as_it_was_told(void **state)
{
    enum { N = 6, WAITS = 4 };
    struct watch w[N], beside;
    const char *dir = support_tmpdir();
    char script[600], path[300];
    lane_width = 2;
    for (int i = 0; i < N; i++) {
        snprintf(script, sizeof script,
                 "mkdir %s/in-%d; ls -d %s/in-* | wc -l; while [ ! -e %s/go-%d ]; do sleep 0.01; done; rmdir %s/in-%d; exit %d", dir, i,
                 dir, dir, i, dir, i, i);
        start_sh(&w[i], script);
    }
    lane = 8;
    start_sh(&beside, "echo other"); /* lanes have nothing to do with each other */
    run_until(is_exited, &beside);
    run_until(has_line, &w[0]);
    run_until(has_line, &w[1]);
    rt->ops->signal(rt, w[WAITS].inst, SIGTERM);
    run_until(is_exited, &w[WAITS]);
    assert_false(w[WAITS].started || w[WAITS].exit.started);
    assert_non_null(strstr(w[WAITS].exit.why, "before its turn"));
    for (int i = N - 1; i >= 0; i--) {
        snprintf(path, sizeof path, "%s/go-%d", dir, i);
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        fclose(f);
        if (i > 1)
            assert_false(w[i].started); /* two run, and wait for their files */
    }
    for (int i = 0; i < N; i++) {
        run_until(is_exited, &w[i]);
        if (i == WAITS)
            continue;
        assert_int_equal(w[i].exit.exit_code, i);
        assert_true(strtol(w[i].lines[0], NULL, 10) <= 2);
    }
}

static void test_what_waits_for_its_lane_ends_with_the_runtime(void **state)
{
    lane_width = 1;
    start_sh(&at_the_end[0], "echo up; sleep 1000");
    start_sh(&at_the_end[1], "echo never");
    run_until(has_line, &at_the_end[0]);
    assert_false(at_the_end[1].started);
}

static void test_a_flood_is_bounded(void **state)
{
    struct watch w;
    start_sh(&w, "yes flood");
    run_until(has_many_lines, &w);
    int64_t from_ns = clock_mono_ns(clock_real());
    size_t before = w.n_lines;
    rt->ops->kill(rt, w.inst);
    run_until(is_exited, &w);
    double s = (double)(clock_mono_ns(clock_real()) - from_ns) / (double)NS_PER_S;
    assert_true((double)(w.n_lines - before) < RUNTIME_LINES_PER_S * (s + RUNTIME_BURST_S) + 10);
}

static bool port_open(void *arg)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(*(uint16_t *)arg)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool open = fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0;
    if (fd >= 0)
        close(fd);
    return open;
}

static void test_a_strangers_server_runs(void **state)
{
    struct watch w;
    start_sh(&w, "exec python3 -m http.server --bind 127.0.0.1 $PORT");
    run_until(is_started, &w);
    run_until(port_open, &w.port);
    rt->ops->signal(rt, w.inst, SIGTERM);
    run_until(is_exited, &w);
    assert_false(port_open(&w.port));
}

/* ---- shares */

/* The script in a group; whether it wrote what `want` begins. */
static bool says(const char *script, struct runtime_spec spec, const char *want)
{
    struct watch w;
    struct err e;
    const char *const argv[] = {"/bin/sh", "-c", script, NULL};
    assert_int_equal(try_start_with(&w, argv, "exec:///tmp", spec, &e), 0);
    run_until(is_exited, &w);
    assert_int_equal(w.exit.exit_code, 0);
    return strncmp(w.lines[0], want, strlen(want)) == 0;
}

static void test_what_shares_the_cpu_is_in_one_group(void **state)
{
    static const char where[] = "grep -o 'g-.*$' /proc/self/cgroup | head -n 1; echo none";
    const struct runtime_spec plain = {.group = 0x17, .weight = 300}, limited = {.group = 0x17, .weight = 200, .cpu_millis = 500};
    if (says(where, plain, "none")) {
        print_message("skip groups of services and jobs: this host lets us make none for the CPU\n");
        return;
    }
    assert_true(says(where, plain, "g-17"));
    assert_true(says(where, limited, "g-17/i-"));
    assert_true(says(where, (struct runtime_spec){.group = 0x18, .weight = 100}, "g-18"));
    assert_true(says(where, (struct runtime_spec){0}, "none"));
    /* A group that is empty stays for the next, but not for ever: of 80 that were used once few are left. */
    for (uint64_t i = 0; i < 80; i++)
        assert_true(says("exit 0", (struct runtime_spec){.group = 0x1000 + i, .weight = 100}, ""));
    assert_true(
        says("[ $(ls -d /sys/fs/cgroup/cpu/runnel-$PPID/g-* /sys/fs/cgroup/runnel-$PPID/g-* 2>/dev/null | wc -l) -le 65 ] && echo few",
             plain, "few"));
    assert_true(says(where, plain, "g-17"));
    const struct runtime_spec both = {.group = 0x17, .weight = 300, .memory_bytes = 64 << 20};
    assert_true(says("grep -q g-17 /proc/self/cgroup && grep -q /i- /proc/self/cgroup && echo both", both, "both"));
}

static void test_a_lost_warden_is_replaced(void **state)
{
    struct watch w, next;
    char path[64], text[512] = "";
    start_sh(&w, "echo $PPID; setsid sleep 1000 & echo $!; wait");
    run_until(has_two_lines, &w);
    long warden = strtol(w.lines[0], NULL, 10), child = strtol(w.lines[1], NULL, 10), leader = (long)w.pid;
    snprintf(path, sizeof path, "/proc/%ld/comm", warden);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_non_null(fgets(text, sizeof text, f));
    fclose(f);
    assert_string_equal(text, "runnel-warden\n");
    kill((pid_t)warden, SIGKILL);
    run_until(is_exited, &w);
    assert_non_null(strstr(w.exit.why, "warden"));
    assert_true(w.exit.lost);
    run_until(pid_gone, &leader);
    run_until(pid_gone, &child);
    start_sh(&next, "exit 4");
    run_until(is_exited, &next);
    assert_int_equal(next.exit.exit_code, 4);
}

/* ---- a server that is killed with -9 */

static const char orphan_script[] =
    "sleep 1000 & echo $! >>$0; setsid sleep 1000 & echo $! >>$0; sh -c 'setsid sleep 1000 & echo $! >>'$0; echo $$ >>$0; echo done; "
    "trap '' TERM HUP; while :; do sleep 0.1; done";

static int play_server(char **all, const char *pids_path)
{
    struct watch w[3];
    struct err e;
    if (warden_fork(&first_warden, all, &e))
        return 1;
    if (first_warden.pid == 0)
        return warden_main(first_warden.sock);
    if (setup(NULL))
        return 1;
    for (size_t i = 0; i < ARRAY_LEN(w); i++) {
        const char *const argv[] = {"/bin/sh", "-c", orphan_script, pids_path, NULL};
        lane = i; /* in lanes, too */
        lane_width = 1;
        if (try_start(&w[i], argv, "exec:///tmp", &e))
            return 1;
    }
    for (size_t i = 0; i < ARRAY_LEN(w); i++)
        run_until(has_line, &w[i]);
    if (write(STDOUT_FILENO, "ready\n", 6) != 6)
        return 1;
    loop_run(loop);
    return 0;
}

static void test_no_orphan_after_kill_9_of_the_server(void **state)
{
    char path[256], role[] = "__server", word[8];
    snprintf(path, sizeof path, "%s/pids", support_tmpdir());
    char *argv[] = {self_path, role, path, NULL};
    int fds[2];
    pid_t server;
    posix_spawn_file_actions_t actions;
    assert_int_equal(pipe(fds), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclosefrom_np(&actions, 3);
    assert_int_equal(posix_spawn(&server, self_path, &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(fds[1]);
    assert_int_equal(read(fds[0], word, sizeof word), 6);
    close(fds[0]);
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t n = 0;
    for (long pid; fscanf(f, "%ld", &pid) == 1; n++)
        run_until(pid_gone, &pid);
    fclose(f);
    assert_int_equal(n, 12);
}

/* From here on this process and its children see no control groups. False: not allowed, or there are none to hide. */
static bool hide_control_groups(void)
{
    return unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           umount2("/sys/fs/cgroup", MNT_DETACH) == 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "__warden") == 0)
        return warden_main((int)strtol(argv[2], NULL, 10));
    ssize_t len = readlink("/proc/self/exe", self_path, sizeof self_path - 1);
    if (len <= 0)
        return 1;
    self_path[len] = '\0';
    if (argc == 3 && strcmp(argv[1], "__server") == 0)
        return play_server(argv, argv[2]);
#define CASE_IN_LANE(fn)                                \
    {                                                   \
#fn " in a lane", fn, in_lane, in_no_lane, NULL \
    }
        /* In a lane other threads of the warden do it. */
#define CASE_BOTH(fn) cmocka_unit_test(fn), CASE_IN_LANE(fn)
    const struct CMUnitTest tests[] = {
        CASE_BOTH(test_how_programs_end),
        CASE_BOTH(test_what_programs_write),
        cmocka_unit_test(test_a_long_line_is_cut_and_marked),
        cmocka_unit_test(test_the_port_is_told_twice),
        CASE_BOTH(test_what_cannot_be_run),
        CASE_BOTH(test_nothing_is_left_when_the_leader_ends),
        CASE_BOTH(test_signals_and_kill),
        CASE_IN_LANE(test_a_lane_is_as_wide_as_it_was_told),
        cmocka_unit_test(test_a_flood_is_bounded),
        cmocka_unit_test(test_a_strangers_server_runs),
        cmocka_unit_test(test_what_shares_the_cpu_is_in_one_group),
        CASE_BOTH(test_a_lost_warden_is_replaced),
        cmocka_unit_test(test_no_orphan_after_kill_9_of_the_server),
        CASE_IN_LANE(test_what_waits_for_its_lane_ends_with_the_runtime),
    };
    /* The first programs of their warden: all processes are made by other threads than the one that adopts what they leave behind. */
    const struct CMUnitTest no_groups[] = {CASE_IN_LANE(test_nothing_is_left_when_the_leader_ends)};
    int failed = cmocka_run_group_tests(tests, setup, teardown);
    if (hide_control_groups())
        failed += cmocka_run_group_tests(no_groups, setup, teardown);
    return failed;
}
