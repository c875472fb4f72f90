/* cli_revisions.c: `runnel run revisions`. The API has revisions below their service; people name the revision only. */
#include "tools/runnel/cli_api.h"
#include "tools/runnel/cli_commands.h"
#include "tools/runnel/cli_output.h"
#include "tools/runnel/cli_service.h"

/* --service alone, or all services of the region. */
static int services_meant(struct cli *c, struct jv **services, struct err *e)
{
    if (!cli_given(c, "service"))
        return api_list(c, api_path(c, "v2", api_location(c), "/services"), "services", services, e);
    const char *name = api_service_name(c, cli_text(c, "service"));
    struct jv *one = NULL;
    if (!name)
        return err_set(e, ERR_INVALID_ARGUMENT, "--service is not a name");
    *services = jv_array();
    const int rc = service_get(c, name, &one, e);
    if (rc == 0)
        jv_add(*services, one);
    return rc;
}

/* The full name of a revision: the service is the one whose name it begins with and that has it. */
static int find_revision(struct cli *c, const char *given, struct jv **revision, struct err *e)
{
    struct jv *services = NULL;
    if (strchr(given, '/'))
        return api_call(c, "GET", api_path(c, "v2", given, ""), NULL, revision, e);
    const int rc = services_meant(c, &services, e);
    if (rc)
        return rc;
    for (const struct jv *i = jv_first(services); i; i = jv_next(i)) {
        const char *service = jv_text(i, "name"), *brief = cli_basename(service);
        const size_t n = strlen(brief);
        if (strncmp(given, brief, n) || given[n] != '-')
            continue;
        const char *path = api_path(c, "v2", cli_printf(c, "%s/revisions/%s", service, given), "");
        struct err inner = {0};
        if (api_call(c, "GET", path, NULL, revision, &inner) == 0)
            return 0;
        if (inner.code != ERR_NOT_FOUND)
            return err_set(e, inner.code, "%s", inner.msg);
    }
    return err_set(e, ERR_NOT_FOUND, "no service in region %s has a revision '%s'", c->region, given);
}

static const char *condition_text(struct cli *c, const struct jv *revision)
{
    for (const struct jv *i = jv_first(jv_at(revision, "conditions")); i; i = jv_next(i))
        if (strcmp(jv_text(i, "type"), "Ready") == 0) {
            if (strcmp(jv_text(i, "state"), "CONDITION_SUCCEEDED") == 0)
                return "yes";
            return cli_printf(c, "no: %s", jv_text(i, "message"));
        }
    return "not yet";
}

/* For people: what share of the traffic it gets, and by which tags. */
static const char *traffic_text(struct cli *c, const struct jv *service, const char *revision)
{
    const char *tags = "";
    for (const struct jv *i = jv_first(jv_at(service, "trafficStatuses")); i; i = jv_next(i))
        if (*jv_text(i, "tag") && strcmp(traffic_revision(service, i), revision) == 0)
            tags = cli_printf(c, "%s tag %s", tags, jv_text(i, "tag"));
    return cli_printf(c, "%d %%%s", (int)traffic_percent(service, revision), tags);
}

static int run_list(struct cli *c)
{
    struct err e = {0};
    struct jv *services = NULL, *all = jv_array();
    if (services_meant(c, &services, &e))
        return cli_fail(c, &e);
    for (const struct jv *s = jv_first(services); s; s = jv_next(s)) {
        struct jv *revisions = NULL;
        if (api_list(c, api_path(c, "v2", jv_text(s, "name"), "/revisions"), "revisions", &revisions, &e))
            return cli_fail(c, &e);
        for (const struct jv *i = jv_first(revisions); i; i = jv_next(i)) {
            struct jv *row = jv_copy(i);
            if (cli_format_own(c)) {
                jv_put_text(row, "service", cli_basename(jv_text(s, "name")));
                jv_put_text(row, "ready", condition_text(c, i));
                jv_put_text(row, "traffic", traffic_text(c, s, cli_basename(jv_text(i, "name"))));
            }
            jv_add(all, row);
        }
    }
    cli_show_list(c, all);
    return CLI_DONE;
}

static int run_describe(struct cli *c)
{
    struct err e = {0};
    struct jv *revision = NULL;
    if (find_revision(c, c->args[0], &revision, &e))
        return cli_fail(c, &e);
    cli_show(c, revision);
    return CLI_DONE;
}

static int run_delete(struct cli *c)
{
    struct err e = {0};
    struct jv *revision = NULL, *operation = NULL, *gone = NULL;
    if (find_revision(c, c->args[0], &revision, &e))
        return cli_fail(c, &e);
    const char *name = jv_text(revision, "name");
    if (!cli_confirm(c, "Revision [%s] will be deleted.", cli_basename(name)))
        return CLI_FAILED;
    if (api_call(c, "DELETE", api_path(c, "v2", name, ""), NULL, &operation, &e) ||
        api_wait(c, cli_printf(c, "Deleting [%s]", cli_basename(name)), operation, &gone, &e))
        return cli_fail(c, &e);
    cli_say(c, "Deleted revision [%s].", cli_basename(name));
    return CLI_DONE;
}

static const struct cli_flag revision_flags[] = {
    CLI_FLAG("service", CLI_TEXT, "SERVICE", "the service that it belongs to"),
    {0},
};
const struct cli_command cli_revision_commands[] = {
    {"run revisions list", "", "list revisions",
     "name.basename():label=REVISION,service:label=SERVICE,traffic:label=TRAFFIC,createTime:label=DEPLOYED,ready:label=READY",
     revision_flags, EXAMPLES("runnel run revisions list", "runnel run revisions list --service=hello"), run_list},
    {"run revisions describe", "REVISION", "show one revision", NULL, revision_flags,
     EXAMPLES("runnel run revisions describe hello-00001-abc"), run_describe},
    {"run revisions delete", "REVISION", "delete a revision that gets no traffic", NULL, revision_flags,
     EXAMPLES("runnel run revisions delete hello-00001-abc"), run_delete},
    {0},
};
