/* cli_scheduler.c: `runnel scheduler explain`: what a schedule means, worked out here; no server is asked. */
#include "core/base/clock.h"
#include "schedules/cron.h"
#include "tools/runnel/cli_commands.h"
#include "tools/runnel/cli_output.h"

#include <stdio.h>

#define EXPLAIN_COUNT_MAX 1000
#define EXPLAIN_BYTES_MAX 8192
#define AROUND_MAX 8
#define DAY_S INT64_C(86400)

static const char *weekday_of(int64_t local_s)
{
    static const char *const names[] = {"Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"};
    int64_t day = local_s / DAY_S - (local_s % DAY_S < 0);
    return names[((day % 7) + 7) % 7];
}

/* A firing as a line for people. */
static int print_firing(const struct zone *z, const struct cron_firing *f)
{
    char text[ZONE_TEXT_MAX];
    struct buf note;
    buf_init(&note, EXPLAIN_BYTES_MAX);
    int rc = cron_explain_firing(z, f, &note);
    printf("  %s %s%s%.*s\n", weekday_of(zone_local(z, f->at_s)), zone_format(z, f->at_s, text), buf_len(&note) ? "   " : "",
           (int)buf_len(&note), buf_len(&note) ? buf_data(&note) : "");
    buf_fini(&note);
    return rc;
}

/* The next firings: their times for every format, and as lines for people. `*last_s`: the last one. */
static int list_firings(struct cli *c, const struct cron *cron, const struct zone *z, int64_t *last_s, struct jv *next)
{
    struct cron_firing f;
    int rc = 0;
    for (int64_t i = cli_int(c, "count"); i > 0 && !rc && cron_next(cron, z, *last_s, &f); i--) {
        char text[ZONE_TEXT_MAX];
        *last_s = f.at_s;
        jv_add(next, jv_string(zone_format(z, f.at_s, text)));
        if (cli_format_default(c))
            rc = print_firing(z, &f);
    }
    return rc;
}

/* Those around the next clock change, unless they were listed: the last one before what is jumped over or comes twice, and some from there on. */
static int list_change(const struct cron *cron, const struct zone *z, int64_t from_s, int64_t listed_s)
{
    struct zone_change change;
    if (!zone_next_change(z, from_s, &change) || listed_s > change.after.start_s + DAY_S)
        return 0;
    const int64_t at_s = change.after.start_s, back_s = change.before.offset_s - change.after.offset_s;
    const int64_t begin_s = back_s > 0 ? at_s - back_s : at_s;
    struct cron_firing f, before = {.at_s = begin_s - 2 * DAY_S};
    bool found = cron_next(cron, z, before.at_s, &f), any_before = false;
    for (; found && f.at_s < begin_s; found = cron_next(cron, z, f.at_s, &f)) {
        before = f;
        any_before = true;
    }
    if (!found || f.at_s > at_s + 2 * DAY_S) /* too far away to be touched */
        return 0;
    printf("\nAround the clock change:\n");
    int rc = any_before ? print_firing(z, &before) : 0;
    bool over = false;
    for (int i = 0; i < AROUND_MAX && found && !rc && !over; i++) {
        rc = print_firing(z, &f);
        over = f.at_s > at_s + (back_s > 0 ? back_s : 0);
        found = cron_next(cron, z, f.at_s, &f);
    }
    return rc;
}

static int show(struct cli *c, const struct cron *cron, const struct zone *z, int64_t from_s, struct err *e)
{
    struct buf text;
    struct jv *answer = jv_object(), *next = jv_array();
    buf_init(&text, EXPLAIN_BYTES_MAX);
    int rc = cron_explain(cron, z, from_s, &text);
    if (!rc) {
        const char *words = cli_copy(c, buf_str(&text));
        jv_put_text(answer, "text", words);
        if (cli_format_default(c))
            printf("%s\n\n", words);
        int64_t last_s = from_s;
        rc = list_firings(c, cron, z, &last_s, next);
        if (!rc && cli_format_default(c))
            rc = list_change(cron, z, from_s, last_s);
    }
    buf_fini(&text);
    if (rc)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory");
    jv_put(answer, "next", next);
    cli_show_made(c, answer);
    return 0;
}

static int scheduler_explain(struct cli *c)
{
    struct err e = {0};
    int64_t from_ns = clock_wall_ns(clock_real());
    const char *given = cli_time(c, "from");
    if (given && wall_parse(given, strlen(given), &from_ns, &e))
        return cli_fail(c, &e);
    struct zone *z = NULL;
    struct cron *cron = cron_parse(c->args[0], &e);
    /* Down to the second: a firing at this very second is over. */
    int rc = cron ? zone_load(cli_text(c, "time-zone"), &z, &e) : -1;
    if (!rc)
        rc = show(c, cron, z, from_ns / NS_PER_S - (from_ns % NS_PER_S < 0), &e);
    zone_unref(z);
    cron_free(cron);
    return rc ? cli_fail(c, &e) : CLI_DONE;
}

static const struct cli_flag explain_flags[] = {
    CLI_FLAG("time-zone", CLI_TEXT, "ZONE", "whose clock the schedule goes by, as Europe/Berlin", .dflt = "Etc/UTC"),
    CLI_FLAG("from", CLI_TIME, "TIME", "RFC 3339, or -1h for an hour ago; only firings after it are shown; the default is now"),
    CLI_FLAG("count", CLI_INT, "N", "how many firings", .dflt = "10", .min = 1, .max = EXPLAIN_COUNT_MAX),
    {0},
};

const struct cli_command cli_scheduler_commands[] = {
    {"scheduler explain", "SCHEDULE",
     "say in words and in times when a schedule fires, also around the next clock change; no server is needed", NULL, explain_flags,
     EXAMPLES("runnel scheduler explain '30 2 * * *' --time-zone=Europe/Berlin --from=2026-03-28T00:00:00Z",
              "runnel scheduler explain '0 9 * * MON-FRI' --count=5", "runnel scheduler explain 'every 5 minutes from 10:00 to 14:00'"),
     scheduler_explain},
    {0},
};
