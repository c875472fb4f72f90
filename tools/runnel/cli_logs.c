/* cli_logs.c: `runnel run services logs read`: what a service's instances wrote, oldest first. */
#include "core/base/clock.h"
#include "tools/runnel/cli_api.h"
#include "tools/runnel/cli_commands.h"
#include "tools/runnel/cli_output.h"

#include <stdio.h>

#define LIMIT_MAX 1000

static const char *filter_of(struct cli *c, const char *service)
{
    const char *filter = cli_printf(c,
                                    "resource.type = cloud_run_revision AND resource.labels.service_name = \"%s\" "
                                    "AND resource.labels.location = \"%s\"",
                                    service, c->region);
    int64_t ms = 0;
    if (cli_duration_parse(cli_text(c, "freshness"), &ms, NULL) == 0) {
        char text[WALL_TEXT_MAX];
        filter = cli_printf(c, "%s AND timestamp >= \"%s\"", filter, wall_format(clock_wall_ns(clock_real()) - ms * NS_PER_MS, text));
    }
    if (cli_text(c, "log-filter"))
        filter = cli_printf(c, "%s AND (%s)", filter, cli_text(c, "log-filter"));
    return filter;
}

static void print_entry(const struct jv *entry)
{
    char when[20];
    snprintf(when, sizeof when, "%s", jv_text(entry, "timestamp")); /* to the second */
    const char *severity = jv_text(entry, "severity"), *text = jv_text(entry, "textPayload"),
               *message = jv_text(entry, "jsonPayload.message");
    if (!*text)
        text = *message ? message : jv_at(entry, "jsonPayload") ? jv_show(jv_at(entry, "jsonPayload")) : "";
    printf("%s  %s%s%s  %s\n", when, jv_text(entry, "resource.labels.revision_name"), strcmp(severity, "DEFAULT") && *severity ? "  " : "",
           strcmp(severity, "DEFAULT") ? severity : "", text);
}

static int run_read(struct cli *c)
{
    struct err e = {0};
    struct jv *body = jv_object(), *answer = NULL, *oldest_first = jv_array();
    const char *name = api_service_name(c, c->args[0]);
    if (!name)
        return CLI_USAGE;
    jv_add(jv_need_array(body, "resourceNames"), jv_string(cli_printf(c, "projects/%s", c->project)));
    jv_put_text(body, "filter", filter_of(c, cli_basename(name)));
    jv_put_text(body, "orderBy", "timestamp desc");
    jv_put(body, "pageSize", jv_number((double)cli_int(c, "limit")));
    if (api_call(c, "POST", "/v2/entries:list", body, &answer, &e))
        return cli_fail(c, &e);
    const struct jv *entries = jv_at(answer, "entries");
    const size_t n = jv_count(entries);
    for (size_t i = n; i-- > 0;)
        jv_add(oldest_first, jv_copy(jv_at(entries, cli_printf(c, "[%zu]", i))));
    if (!cli_format_own(c))
        cli_show_list(c, oldest_first);
    else
        for (const struct jv *i = jv_first(oldest_first); i; i = jv_next(i))
            print_entry(i);
    if (n == 0)
        cli_say(c, "No lines in this time. --freshness=7d looks further back.");
    return CLI_DONE;
}

static const struct cli_flag log_flags[] = {
    CLI_FLAG("limit", CLI_INT, "N", "at most so many lines, the newest", .dflt = "100", .min = 1, .max = LIMIT_MAX),
    CLI_FLAG("freshness", CLI_DURATION, "DURATION", "not older than this", .dflt = "1d"),
    CLI_FLAG("log-filter", CLI_TEXT, "FILTER", "only matching lines, e.g. 'severity>=ERROR'"),
    {0},
};
const struct cli_command cli_log_commands[] = {
    {"run services logs read", "SERVICE", "show what a service wrote to stdout and stderr", NULL, log_flags,
     EXAMPLES("runnel run services logs read hello", "runnel run services logs read hello --limit=20 --freshness=10m"), run_read},
    {0},
};
