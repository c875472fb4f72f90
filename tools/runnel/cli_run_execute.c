/* cli_run_execute.c: `runnel run jobs execute`, on the server or, with --local, on this machine. */
#include "core/base/random.h"
#include "core/base/text.h"
#include "tools/runnel/cli_api.h"
#include "tools/runnel/cli_commands.h"
#include "tools/runnel/cli_container.h"
#include "tools/runnel/cli_inputs.h"
#include "tools/runnel/cli_local.h"
#include "tools/runnel/cli_output.h"
#include "tools/runnel/cli_run_jobs.h"

#include <stdlib.h>
#include <unistd.h>

#define SERVER_INPUTS_MAX 400000                  /* values in one request's JSON that a server reads */
#define SERVER_BODY_BYTES_MAX (14u * 1024 * 1024) /* of a request */
#define NAME_LEN 5

/* ---- on the server ---- */

int run_job_flags_check(struct cli *c)
{
    static const char *const waits[] = {"wait", "tail", "execute-now", "tasks-from"};
    const bool starts_anyway = strcmp(c->command->words, "run jobs execute") == 0;
    for (size_t i = 0; i < (starts_anyway ? 2 : ARRAY_LEN(waits)); i++)
        if (cli_given(c, "async") && cli_given(c, waits[i]))
            return cli_usage_error(c, "give either --async or --%s", waits[i]);
    return CLI_DONE;
}

static int put_inputs(struct cli *c, struct jv *body, struct err *e)
{
    struct inputs in;
    const int rc = inputs_read(c, cli_text(c, "tasks-from"), &in, e);
    if (rc)
        return rc;
    if (in.n > SERVER_INPUTS_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "--tasks-from: %zu tasks; one execution takes %d: cut the file into several", in.n,
                       SERVER_INPUTS_MAX);
    struct jv *array = jv_put(body, "inputs", jv_array());
    for (size_t i = 0; i < in.n; i++)
        jv_add(array, jv_string(in.v[i]));
    const size_t bytes = strlen(jv_write(body, false));
    if (bytes > SERVER_BODY_BYTES_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT,
                       "--tasks-from: a request of %.1f MiB; one execution takes %u MiB: put the data in files and list their names",
                       (double)bytes / (1 << 20), SERVER_BODY_BYTES_MAX >> 20);
    return 0;
}

int run_job_now(struct cli *c, const char *job, struct jv *overrides)
{
    struct err e = {0};
    struct jv *body = jv_object(), *operation = NULL;
    const bool inputs = cli_given(c, "tasks-from");
    jv_put(body, "overrides", overrides);
    if (inputs && put_inputs(c, body, &e))
        return cli_fail(c, &e);
    const char *path = inputs ? api_path(c, "runnel/v1", job, ":runWithInputs") : api_path(c, "v2", job, ":run");
    if (api_call(c, "POST", path, body, &operation, &e))
        return cli_fail(c, &e);
    const char *name = jv_text(operation, "metadata.name");
    name = *name ? name : jv_text(operation, "response.name");
    if (!*name) {
        if (!jv_at(operation, "error"))
            err_set(&e, ERR_INTERNAL, "the answer names no execution: is %s really a Runnel server?", c->url);
        else
            err_set(&e, (enum err_code)jv_int(operation, "error.code"), "%s", jv_text(operation, "error.message"));
        return cli_fail(c, &e);
    }
    if (cli_given(c, "async")) {
        cli_say(c, "Execution [%s] is being started; see `runnel run jobs executions describe %s`.", cli_basename(name),
                cli_basename(name));
        cli_show_made(c, operation);
        return CLI_DONE;
    }
    return execution_follow(c, name, jv_text(operation, "name"), cli_given(c, "wait") || cli_given(c, "tail"), cli_given(c, "tail"));
}

struct jv *run_job_overrides(struct cli *c)
{
    struct jv *o = jv_object(), *container = jv_object();
    flag_put_number(c, o, "taskCount", "tasks");
    jv_put_text(o, "timeout", cli_duration(c, "task-timeout"));
    const char *const *args = cli_list(c, "args", NULL);
    if (cli_given(c, "args") && !args[0])
        jv_put(container, "clearArgs", jv_bool(true));
    for (size_t i = 0; args[i]; i++)
        jv_add(jv_need_array(container, "args"), jv_string(args[i]));
    if (cli_given(c, "update-env-vars"))
        flag_put_variables(c, jv_need_array(container, "env"), "update-env-vars");
    if (jv_first(container))
        jv_add(jv_need_array(o, "containerOverrides"), container);
    return jv_first(o) ? o : NULL;
}

static int execute_there(struct cli *c)
{
    static const char *const local_only[] = {"parallelism", "max-retries", "backoff", "max-backoff", "stop-after-failures"};
    for (size_t i = 0; i < ARRAY_LEN(local_only); i++)
        if (cli_given(c, local_only[i]))
            return cli_usage_error(c, "--%s is the job's own: change it by `runnel run jobs update`, or run a command with --local",
                                   local_only[i]);
    if (cli_given(c, "results"))
        return cli_usage_error(c, "--results is for an execution with --local; the server keeps those of its tasks");
    if (c->n_args == 0)
        return cli_usage_error(c, "JOB is missing: runnel run jobs execute JOB, or --local -- COMMAND...");
    if (c->n_args > 1)
        return cli_usage_error(c, "unexpected '%s' after the job; a command to run here needs --local", c->args[1]);
    const int rc = run_job_flags_check(c);
    const char *name = rc ? NULL : run_job_name(c, c->args[0]);
    return name ? run_job_now(c, name, run_job_overrides(c)) : CLI_USAGE;
}

/* ---- here ---- */

/* The program's path, as a shell finds it; NULL: there is none. */
static const char *find_program(struct cli *c, const char *name)
{
    if (strchr(name, '/'))
        return access(name, X_OK) == 0 ? name : NULL;
    const char *path = getenv("PATH");
    for (const char *p = path ? path : "/usr/bin:/bin"; *p;) {
        const size_t n = strcspn(p, ":");
        const char *at = cli_printf(c, "%.*s/%s", n ? (int)n : 1, n ? p : ".", name);
        if (access(at, X_OK) == 0)
            return at;
        p += n + (p[n] ? 1 : 0);
    }
    return NULL;
}

static int64_t flag_ns(struct cli *c, const char *flag)
{
    int64_t ms = 0;
    return cli_text(c, flag) && cli_duration_parse(cli_text(c, flag), &ms, NULL) == 0 ? ms * NS_PER_MS : 0;
}

static const char *new_execution(struct cli *c)
{
    struct rng rng;
    char tail[NAME_LEN + 1];
    rng_seed_os(&rng);
    rng_name(&rng, tail, NAME_LEN);
    return cli_printf(c, "local-%s", tail);
}

static int local_refused(struct cli *c)
{
    static const char *const server_only[] = {"args", "async", "wait", "tail"};
    for (size_t i = 0; i < ARRAY_LEN(server_only); i++)
        if (cli_given(c, server_only[i]))
            return cli_usage_error(c, "--%s is for an execution on the server, and this one is --local", server_only[i]);
    if (c->n_args == 0)
        return cli_usage_error(c, "the command is missing: runnel run jobs execute --local -- COMMAND...");
    if (cli_given(c, "tasks") && cli_given(c, "tasks-from"))
        return cli_usage_error(c, "give either --tasks or --tasks-from: the file says how many there are");
    return CLI_DONE;
}

static uint32_t parallelism_of(struct cli *c, uint32_t tasks)
{
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    int64_t n = cli_int(c, "parallelism");
    n = n ? n : cores > 0 ? cores : 1;
    n = n < tasks ? n : tasks;
    return (uint32_t)(n < LOCAL_PARALLELISM_MAX ? n : LOCAL_PARALLELISM_MAX);
}

static int execute_here(struct cli *c)
{
    struct err e = {0};
    struct inputs in = {0};
    const int rc = local_refused(c);
    if (rc)
        return rc;
    if (cli_given(c, "tasks-from") && inputs_read(c, cli_text(c, "tasks-from"), &in, &e))
        return cli_fail(c, &e);
    const char *program = find_program(c, c->args[0]);
    if (!program) {
        err_set(&e, ERR_NOT_FOUND, "there is no program '%s'%s that could be run", c->args[0], strchr(c->args[0], '/') ? "" : " in PATH");
        return cli_fail(c, &e);
    }
    char **argv = cli_alloc(c, (c->n_args + 1) * sizeof *argv);
    for (size_t i = 0; i < c->n_args; i++)
        argv[i] = cli_copy(c, str_of(c->args[i]));
    struct local_job job = {
        .program = program,
        .argv = argv,
        .inputs = in.v,
        .vars = cli_list(c, "update-env-vars", NULL),
        .execution = new_execution(c),
        .results = cli_text(c, "results"),
        .tasks = in.n                    ? (uint32_t)in.n
                 : cli_given(c, "tasks") ? (uint32_t)cli_int(c, "tasks")
                                         : 1,
        .max_retries = cli_given(c, "max-retries") ? (uint32_t)cli_int(c, "max-retries") : LOCAL_RETRIES_DEFAULT,
        .stop_after = (uint32_t)cli_int(c, "stop-after-failures"),
        .timeout_ns = flag_ns(c, "task-timeout"),
        .backoff_min_ns = flag_ns(c, "backoff"),
        .backoff_max_ns = cli_given(c, "max-backoff") ? flag_ns(c, "max-backoff") : LOCAL_BACKOFF_MAX_NS,
    };
    job.parallelism = parallelism_of(c, job.tasks);
    return local_run(c, &job);
}

static int run_execute(struct cli *c) { return cli_given(c, "local") ? execute_here(c) : execute_there(c); }

static const struct cli_flag execute_flags[] = {
    JOB_OVERRIDE_FLAGS,
    JOB_FOLLOW_FLAGS,
    CLI_FLAG("local", CLI_SWITCH, "", "run COMMAND on this machine, without a server; the exit code is 0 when all tasks succeeded"),
    CLI_FLAG("parallelism", CLI_INT, "N", "with --local: so many at once; 0: as many as there are cores", .min = 0,
             .max = LOCAL_PARALLELISM_MAX),
    CLI_FLAG("max-retries", CLI_INT, "N", "with --local: how often a task that failed is tried again; 3 if it is not given", .min = 0,
             .max = LOCAL_RETRIES_MAX),
    CLI_FLAG("backoff", CLI_DURATION, "DURATION", "with --local: the time before that; it doubles each time"),
    CLI_FLAG("max-backoff", CLI_DURATION, "DURATION", "with --local: the longest such time; 10m if it is not given"),
    CLI_FLAG("stop-after-failures", CLI_INT, "N", "with --local: end when so many tasks have failed", .min = 1, .max = RUN_TASKS_MAX),
    CLI_FLAG("results", CLI_TEXT, "FOLDER", "with --local: what a task writes into the file $RUNNEL_RESULT stays there, under its number"),
    {0},
};

const struct cli_command cli_run_execute_commands[] = {
    {"run jobs execute", "[JOB] [--] [COMMAND...]", "execute a job, or with --local a command on this machine", NULL, execute_flags,
     EXAMPLES("runnel run jobs execute nightly --wait", "runnel run jobs execute nightly --tail --update-env-vars=MODE=full",
              "runnel run jobs execute thumbs --tasks-from=images.txt --wait", "runnel run jobs execute thumbs --tasks=10 --async",
              "runnel run jobs execute --local --tasks=100 --parallelism=8 --max-retries=1 -- ./simulate --quick",
              "runnel run jobs execute --local --tasks-from=images.txt --task-timeout=1m -- sh -c 'convert \"$RUNNEL_TASK_INPUT\" small'"),
     run_execute},
    {0},
};
