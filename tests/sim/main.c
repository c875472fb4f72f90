/* main.c: runs seeds, each in a process of its own, and says which failed and how to replay it. */
#include "tests/sim/tasks.h"

#include "core/base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define TROUBLE_NS (90 * NS_PER_S)
#define HEALTHY_NS (30 * NS_PER_S) /* the last traffic, and what the admins have under way */
#define HEAL_NS (3 * 3600 * NS_PER_S)
#define JOBS_MAX 64
#define SEED_REAL_S 300 /* a seed takes about a second; one that hangs is ended by SIGALRM */

/* Seeds under way, each with its process; pid 0: free. */
struct seed_run {
    pid_t pid;
    uint64_t seed;
};

static void run_seed(uint64_t seed, bool trace)
{
    struct sim *s = calloc(1, sizeof *s);
    if (!s)
        _exit(1);
    sim_start(s, seed, trace);
    sim_actors_go(s);
    sim_run_for(s, TROUBLE_NS);
    sim_trace(s, "---- nothing fails any more ----");
    s->healing = true;
    s->healed_ns = s->now_ns;
    int64_t end = s->now_ns + HEAL_NS;
    sim_run_for(s, HEALTHY_NS);
    while (s->missing > 0 && s->now_ns < end)
        sim_step(s);
    sim_run_for(s, 100 * NS_PER_S); /* the longest ack deadline here, and late answers */
    facts_check_end(s);
    sim_trace(s,
              "%zu messages, %llu pushes, %llu pulls, %llu extensions, %llu seeks, %llu remakes, %llu instances, %llu crashes, %llu steps",
              s->n_facts, (unsigned long long)s->pushes, (unsigned long long)s->pulls, (unsigned long long)s->extensions,
              (unsigned long long)s->seeks, (unsigned long long)s->remakes, (unsigned long long)s->instances_started,
              (unsigned long long)s->crashes, (unsigned long long)s->steps);
    if (s->pushes == 0 || s->pulls == 0 || s->instances_started == 0)
        sim_fail(s, "nothing happened: the simulation is not testing anything");
    sim_tasks(seed, trace);
    fflush(NULL);
    _exit(0);
}

static struct seed_run *run_find(struct seed_run *runs, pid_t pid)
{
    for (size_t i = 0; i < JOBS_MAX; i++)
        if (runs[i].pid == pid)
            return &runs[i];
    return NULL;
}

/* Whatever ends a seed (a broken promise, an assertion, a sanitizer, a hang): its number is told. */
static int wait_one(struct seed_run *runs, uint64_t *running, uint64_t *failed)
{
    int status;
    pid_t pid = wait(&status);
    struct seed_run *run = pid > 0 ? run_find(runs, pid) : NULL;
    if (!run)
        return -1;
    --*running;
    run->pid = 0;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        ++*failed;
        fprintf(stderr, "seed %llu failed, by %s %d; replay: runnel-sim --seed %llu --trace\n", (unsigned long long)run->seed,
                WIFSIGNALED(status) ? "signal" : "exit code", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
                (unsigned long long)run->seed);
    }
    return 0;
}

static int run_seeds(uint64_t from, uint64_t count, uint64_t at_once)
{
    struct seed_run runs[JOBS_MAX] = {0};
    uint64_t running = 0, failed = 0;
    for (uint64_t k = 0; k < count; k++) {
        if (running == at_once && wait_one(runs, &running, &failed))
            break;
        pid_t pid = fork();
        if (pid == 0) {
            alarm(SEED_REAL_S);
            run_seed(from + k, false);
        }
        if (pid < 0)
            return perror("fork"), 1;
        *run_find(runs, 0) = (struct seed_run){pid, from + k};
        running++;
    }
    while (running > 0 && wait_one(runs, &running, &failed) == 0)
        ;
    printf("%llu passed, %llu failed\n", (unsigned long long)(count - failed), (unsigned long long)failed);
    return failed > 0;
}

static int usage(void)
{
    fprintf(stderr, "usage: runnel-sim --seeds COUNT [--from SEED] [--jobs N] | --seed SEED [--trace]\n");
    return 2;
}

int main(int argc, char **argv)
{
    uint64_t count = 0, from = 1, jobs = 2, seed = 0;
    bool trace = false, one = false;
    struct err e = {0};
    for (int i = 1; i < argc; i++) {
        uint64_t *into = strcmp(argv[i], "--seeds") == 0  ? &count
                         : strcmp(argv[i], "--from") == 0 ? &from
                         : strcmp(argv[i], "--jobs") == 0 ? &jobs
                         : strcmp(argv[i], "--seed") == 0 ? &seed
                                                          : NULL;
        if (strcmp(argv[i], "--trace") == 0)
            trace = true;
        else if (!into || i + 1 == argc || parse_u64(str_of(argv[++i]), UINT64_MAX, into, &e))
            return usage();
        one = one || into == &seed;
    }
    if (one)
        run_seed(seed, trace);
    if (count == 0 || jobs == 0 || jobs > JOBS_MAX)
        return usage();
    return run_seeds(from, count, jobs);
}
