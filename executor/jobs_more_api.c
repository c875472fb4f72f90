/** jobs_more_api.c: what our jobs have and Google's have not, under /runnel/v1: inputs, another go for what failed, every attempt. */
#include "executor/api_common.h"
#include "executor/jobs_int.h"

#include "core/rpc/longrunning.pb-c.h"

static void on_run_with_inputs(void *service, struct call *c, const ProtobufCMessage *request)
{
    const RECORD(RunWithInputsRequest) *q = (const void *)request;
    const struct launch l = {.overrides = q->overrides, .inputs = q->inputs, .n_inputs = q->n_inputs, .event_id = c->caller.event_id};
    if (q->n_inputs == 0)
        call_failf(c, ERR_INVALID_ARGUMENT, "inputs: required, one a task");
    else
        run_jobs_run(service, c, q->name, q->etag, q->validate_only, &l);
}

static void on_retry_failed(void *service, struct call *c, const ProtobufCMessage *request)
{
    struct executor *x = service;
    const RECORD(RetryFailedRequest) *q = (const void *)request;
    struct execution *run = run_jobs_find_execution(x, c, q->name);
    if (!run)
        return;
    if (run->state != EXECUTION_FAILED && run->state != EXECUTION_CANCELLED)
        call_failf(c, ERR_FAILED_PRECONDITION, "Execution %s is %s: only the tasks of one that failed or was cancelled are taken up again.",
                   run->id, execution_state_name(run->state));
    else
        executions_change(x, c, run, false, execution_retry);
}

static void on_attempts(void *service, struct call *c, const ProtobufCMessage *request)
{
    tasks_ask(service, c, ((const RECORD(GetTaskAttemptsRequest) *)(const void *)request)->name, true);
}

#define OPERATION_DESC (&google__longrunning__operation__descriptor)
#define OURS "runnel.run.v1.Jobs/"
#define JOB "projects/*/locations/*/jobs/*"
static const struct method methods[] = {
    {OURS "RunWithInputs", VERB_POST, "/runnel/v1/{name=" JOB "}:runWithInputs", "*", "run.jobs.run", RECORD_DESC(run_with_inputs_request),
     OPERATION_DESC, on_run_with_inputs},
    {OURS "RetryFailed", VERB_POST, "/runnel/v1/{name=" JOB "/executions/*}:retryFailed", "*", "run.jobs.run",
     RECORD_DESC(retry_failed_request), OPERATION_DESC, on_retry_failed},
    {OURS "GetTaskAttempts", VERB_GET, "/runnel/v1/{name=" JOB "/executions/*/tasks/*}:attempts", NULL, "run.tasks.get",
     RECORD_DESC(get_task_attempts_request), RECORD_DESC(task_attempts), on_attempts},
};

int jobs_more_api_register(struct executor *x, struct registry *r, struct err *e)
{
    return registry_add(r, methods, ARRAY_LEN(methods), x, e);
}
