/** tasks_api.c: google.cloud.run.v2 Tasks: pages over the tasks of one execution or of several, read from the store as they are wanted;
 *               a task that has not begun is shown without being anywhere. */
#include "executor/api_common.h"
#include "executor/jobs_int.h"

#include "core/rpc/page.h"

#include <stdio.h>
#include <stdlib.h>

#define ROWS_BYTES_MAX (32u << 20)

/* Which task a name means. */
static bool task_index(const struct execution *e, const char *name, uint32_t *index)
{
    const char *tail = strstr(name, "/tasks/");
    size_t n = strlen(e->id);
    if (!tail || strncmp(tail + 7, e->id, n) != 0 || strncmp(tail + 7 + n, "-task", 5) != 0)
        return false;
    const char *digits = tail + 7 + n + 5;
    char *end;
    unsigned long v = strtoul(digits, &end, 10);
    if (*digits < '0' || *digits > '9' || *end || v >= e->task_count || (*digits == '0' && v))
        return false;
    *index = (uint32_t)v;
    return true;
}

/* ---- one */

struct asking {
    struct call *call;
    struct execution *e;
    uint32_t index;
    bool attempts;                /* what is asked is runnel's view of them */
    RECORD(TaskAttempts) * shown; /* then its input is still read */
    char key[TASK_KEY_SIZE];
    struct store_entries read;
};

static void ask(struct asking *q, uint64_t list);

static void answer(struct asking *q, const void *m)
{
    q->e->busy--;
    run_jobs_reap_soon(q->e->jobs);
    api_reply(q->call, m);
    free(q);
}

static void on_row(struct store_entries *r, const struct err *err)
{
    struct asking *q = r->arg;
    struct arena *a = q->call->arena;
    if (err) {
        struct err copy = *err;
        q->e->busy--;
        run_jobs_reap_soon(q->e->jobs);
        call_fail(q->call, &copy);
        free(q);
        return;
    }
    const struct store_entry *row = r->n ? &r->rows[0] : NULL;
    if (!q->attempts) {
        answer(q, task_show(q->e, a, q->index, row));
        return;
    }
    if (q->shown) {
        if (row)
            q->shown->input = arena_dup(a, row->body);
        answer(q, q->shown->input ? q->shown : NULL);
        return;
    }
    q->shown = task_attempts_show(q->e, a, q->index, row);
    if (q->shown && q->e->rec->inputs_list)
        ask(q, q->e->rec->inputs_list);
    else
        answer(q, q->shown);
}

static void ask(struct asking *q, uint64_t list)
{
    q->read = (struct store_entries){.by = STORE_BY_KEY,
                                     .list_id = list,
                                     .lane_max = STORE_LANE_MAX,
                                     .key = q->key,
                                     .max_count = 1,
                                     .max_bytes = ROWS_BYTES_MAX,
                                     .done = on_row,
                                     .arg = q};
    q->e->jobs->x->deps.store->ops->entries(q->e->jobs->x->deps.store, &q->read);
}

void tasks_ask(struct executor *x, struct call *c, const char *name, bool attempts)
{
    const char *tail = strstr(name, "/tasks/");
    char *parent = tail ? arena_dup(c->arena, (struct str){name, (size_t)(tail - name)}) : NULL;
    struct execution *e = parent ? run_jobs_find_execution(x, c, parent) : NULL;
    uint32_t index;
    if (!parent)
        call_failf(c, ERR_RESOURCE_EXHAUSTED, "out of memory");
    if (!e)
        return;
    if (!task_index(e, name, &index)) {
        call_failf(c, ERR_NOT_FOUND, "task '%.280s' does not exist", name);
        return;
    }
    struct asking *q = calloc(1, sizeof *q);
    if (!q) {
        call_failf(c, ERR_RESOURCE_EXHAUSTED, "out of memory");
        return;
    }
    *q = (struct asking){.call = c, .e = e, .index = index, .attempts = attempts};
    run_attempt_key(index, q->key);
    e->busy++;
    ask(q, e->rec->list_id);
}

static void on_get(void *service, struct call *c, const ProtobufCMessage *request)
{
    tasks_ask(service, c, ((const RUN(GetTaskRequest) *)(const void *)request)->name, false);
}

/* ---- lists: a page goes through the executions in the order of their names, and through each one's tasks by index */

struct listing {
    struct executor *x;
    struct call *call;
    const char *parent;
    struct page page;
    RUN(ListTasksResponse) * out;
    char **executions; /* names, in order; looked up again each time, since one may go meanwhile */
    size_t n, at;
    uint32_t index; /* the next one's */
    struct execution *e;
    char key[TASK_KEY_SIZE];
    struct store_entries read;
};

static void go_on(struct listing *l);

static void listing_end(struct listing *l, bool ok)
{
    struct call *c = l->call;
    const void *m = ok ? l->out : NULL;
    free(l->executions);
    free(l);
    api_reply(c, m);
}

static void on_rows(struct store_entries *r, const struct err *err)
{
    struct listing *l = r->arg;
    struct execution *e = l->e;
    size_t row = 0;
    bool ok = true;
    e->busy--;
    run_jobs_reap_soon(e->jobs);
    if (err) {
        struct err copy = *err;
        struct call *c = l->call;
        free(l->executions);
        free(l);
        call_fail(c, &copy);
        return;
    }
    /* More may follow the last row, as many or as large as they are; when none came, or one of no task, none has begun. */
    uint32_t last = r->n ? run_attempt_index(e, r->rows[r->n - 1].key) + 1 : e->task_count;
    if (last > e->task_count)
        last = e->task_count;
    for (; ok && l->index < last && l->out->n_tasks < l->page.size; l->index++) {
        while (row < r->n && run_attempt_index(e, r->rows[row].key) < l->index)
            row++;
        bool here = row < r->n && run_attempt_index(e, r->rows[row].key) == l->index;
        RUN(Task) *t = task_show(e, l->call->arena, l->index, here ? &r->rows[row] : NULL);
        ok = t != NULL;
        if (t)
            l->out->tasks[l->out->n_tasks++] = t;
    }
    if (!ok)
        listing_end(l, false);
    else
        go_on(l);
}

static void read_rows(struct listing *l)
{
    if (l->index > 0)
        run_attempt_key(l->index - 1, l->key);
    else
        l->key[0] = '\0';
    l->read = (struct store_entries){.by = STORE_KEYS,
                                     .list_id = l->e->rec->list_id,
                                     .lane_max = TASK_LANE_MAX,
                                     .key = l->key,
                                     .max_count = l->page.size - l->out->n_tasks,
                                     .max_bytes = ROWS_BYTES_MAX,
                                     .done = on_rows,
                                     .arg = l};
    l->e->busy++;
    l->x->deps.store->ops->entries(l->x->deps.store, &l->read);
}

static void go_on(struct listing *l)
{
    for (; l->at < l->n; l->at++, l->index = 0) {
        l->e = run_jobs_execution(l->x->jobs, l->executions[l->at]);
        if (!l->e || l->index >= l->e->task_count)
            continue;
        if (l->out->n_tasks == l->page.size) {
            char *at = arena_printf(l->call->arena, "%s %u", l->executions[l->at], l->index);
            l->out->next_page_token = at ? page_token(l->call->arena, l->parent, at) : NULL;
            listing_end(l, l->out->next_page_token != NULL);
            return;
        }
        read_rows(l);
        return;
    }
    listing_end(l, true);
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* "projects/P/locations/L/jobs/J|-/executions/E|-" */
static bool matches(const char *name, const char *parent)
{
    while (*parent) {
        size_t n = strcspn(parent, "/"), k = strcspn(name, "/");
        if (!(n == 1 && *parent == '-') && (n != k || memcmp(parent, name, n) != 0))
            return false;
        parent += n + (parent[n] == '/');
        name += k + (name[k] == '/');
    }
    return !*name;
}

static bool find_executions(struct listing *l)
{
    size_t it = 0;
    const char *name;
    void *v;
    if (!(l->executions = calloc(map_count(l->x->jobs->executions) + 1, sizeof *l->executions)))
        return false;
    while (map_next(l->x->jobs->jobs, &it, &name, &v)) {
        struct job *j = v;
        LIST_EACH(&j->executions, n) {
            const struct execution *e = CONTAINER_OF(n, struct execution, link);
            if (matches(e->name, l->parent) && !(l->executions[l->n++] = arena_strdup(l->call->arena, e->name)))
                return false;
        }
    }
    qsort(l->executions, l->n, sizeof *l->executions, by_name);
    return true;
}

/* Where the page before ended. */
static void resume(struct listing *l)
{
    const char *space = strchr(l->page.after, ' ');
    if (!space)
        return;
    size_t len = (size_t)(space - l->page.after);
    while (l->at < l->n && strncmp(l->executions[l->at], l->page.after, len) < 0)
        l->at++;
    if (l->at < l->n && strlen(l->executions[l->at]) == len && memcmp(l->executions[l->at], l->page.after, len) == 0)
        l->index = (uint32_t)strtoul(space + 1, NULL, 10);
}

static void on_list(void *service, struct call *c, const ProtobufCMessage *request)
{
    struct executor *x = service;
    const RUN(ListTasksRequest) *q = (const void *)request;
    struct err e;
    struct listing *l = calloc(1, sizeof *l);
    err_set(&e, ERR_RESOURCE_EXHAUSTED, "out of memory");
    int rc = l ? page_open(c->arena, q->page_size, q->page_token, q->parent, &l->page, &e) : -ERR_RESOURCE_EXHAUSTED;
    if (rc == 0) {
        l->x = x;
        l->call = c;
        l->parent = q->parent;
        l->out = pb_new(c->arena, RUN_DESC(list_tasks_response));
        if (l->out)
            l->out->tasks = arena_alloc(c->arena, l->page.size * sizeof *l->out->tasks);
        rc = l->out && l->out->tasks && find_executions(l) ? 0 : err_set(&e, ERR_RESOURCE_EXHAUSTED, "out of memory");
    }
    if (rc == 0 && l->n == 0 && !strstr(q->parent, "/-"))
        rc = err_set(&e, ERR_NOT_FOUND, "execution '%.250s' does not exist", q->parent);
    if (rc) {
        free(l ? l->executions : NULL);
        free(l);
        call_fail(c, &e);
        return;
    }
    resume(l);
    go_on(l);
}

#define TASKS "google.cloud.run.v2.Tasks/"
#define EXECUTION "projects/*/locations/*/jobs/*/executions/*"
static const struct method methods[] = {
    {TASKS "GetTask", VERB_GET, "/v2/{name=" EXECUTION "/tasks/*}", NULL, "run.tasks.get", RUN_DESC(get_task_request), RUN_DESC(task),
     on_get},
    {TASKS "ListTasks", VERB_GET, "/v2/{parent=" EXECUTION "}/tasks", NULL, "run.tasks.list", RUN_DESC(list_tasks_request),
     RUN_DESC(list_tasks_response), on_list},
};

int tasks_api_register(struct executor *x, struct registry *r, struct err *e) { return registry_add(r, methods, ARRAY_LEN(methods), x, e); }
