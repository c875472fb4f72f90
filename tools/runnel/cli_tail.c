/* cli_tail.c: what an execution's tasks write, as it comes: the entries behind the last one that was printed. */
#include "tools/runnel/cli_api.h"
#include "tools/runnel/cli_logs.h"
#include "tools/runnel/cli_output.h"
#include "tools/runnel/cli_run_jobs.h"

#include <stdio.h>

#define PAGE_ENTRIES 1000
#define PAGES_A_TIME 50 /* then the counts are looked at again */
#define CURSOR_MAX 64

struct tail {
    struct cli *c;
    const char *project, *filter;
    char last[CURSOR_MAX]; /* insertId of the last entry printed; they grow with time */
};

struct tail *tail_new(struct cli *c, const char *execution_name)
{
    struct tail *t = cli_alloc(c, sizeof *t);
    const char *project = execution_name + strlen("projects/");
    t->c = c;
    t->project = cli_printf(c, "projects/%.*s", (int)strcspn(project, "/"), project);
    t->filter = logs_job_filter(c, NULL, cli_basename(execution_name), NULL);
    return t;
}

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* To the stream that it was written to. The server's own lines are no output, and name the task themselves. */
static void print_entry(const struct jv *entry, bool numbered)
{
    const char *log = jv_text(entry, "logName"), *index = logs_label(entry, "run.googleapis.com/task_index");
    const bool out = ends_with(log, "stdout"), err = ends_with(log, "stderr");
    FILE *to = out ? stdout : stderr;
    if (numbered && (out || err) && *index)
        fprintf(to, "[%s] ", index);
    fprintf(to, "%s\n", logs_text(entry));
}

static void print_page(struct tail *t, const struct jv *answer, bool numbered)
{
    for (const struct jv *i = jv_first(jv_at(answer, "entries")); i; i = jv_next(i)) {
        print_entry(i, numbered);
        snprintf(t->last, sizeof t->last, "%s", jv_text(i, "insertId"));
    }
}

int tail_print(struct tail *t, bool numbered, void (*before)(void *arg), void *arg, struct err *e)
{
    for (int page = 0; page < PAGES_A_TIME; page++) {
        struct jv *body = jv_object(), *answer = NULL;
        jv_add(jv_need_array(body, "resourceNames"), jv_string(t->project));
        jv_put_text(body, "filter", *t->last ? cli_printf(t->c, "%s AND insertId > \"%s\"", t->filter, t->last) : t->filter);
        jv_put_text(body, "orderBy", "timestamp asc");
        jv_put(body, "pageSize", jv_number(PAGE_ENTRIES));
        const int rc = api_call(t->c, "POST", "/v2/entries:list", body, &answer, e);
        if (rc)
            return rc;
        if (!jv_first(jv_at(answer, "entries")))
            return 0;
        if (page == 0)
            before(arg);
        print_page(t, answer, numbered);
        fflush(stdout);
        if (!*jv_text(answer, "nextPageToken"))
            return 0;
    }
    return 0;
}
