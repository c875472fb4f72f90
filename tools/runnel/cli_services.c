/* cli_services.c: `runnel run services` list, describe, delete, and their policies. */
#include "tools/runnel/cli_api.h"
#include "tools/runnel/cli_commands.h"
#include "tools/runnel/cli_output.h"
#include "tools/runnel/cli_service.h"

/* For people: yes, or what is in the way. */
static const char *readiness(struct cli *c, const struct jv *service)
{
    const char *state = jv_text(service, "terminalCondition.state"), *message = jv_text(service, "terminalCondition.message");
    if (strcmp(state, "CONDITION_SUCCEEDED") == 0)
        return "yes";
    return cli_printf(c, "%s%s%s", strcmp(state, "CONDITION_FAILED") ? "not yet" : "no", *message ? ": " : "", message);
}

static int run_list(struct cli *c)
{
    struct err e = {0};
    struct jv *array = NULL;
    if (api_list(c, api_path(c, "v2", api_location(c), "/services"), "services", &array, &e))
        return cli_fail(c, &e);
    for (struct jv *i = jv_first(array); i && cli_format_own(c); i = jv_next(i))
        jv_put_text(i, "ready", readiness(c, i));
    cli_show_list(c, array);
    return CLI_DONE;
}

static int run_describe(struct cli *c)
{
    struct err e = {0};
    struct jv *service = NULL;
    const char *name = api_service_name(c, c->args[0]);
    if (!name)
        return CLI_USAGE;
    if (service_get(c, name, &service, &e))
        return cli_fail(c, &e);
    cli_show(c, service);
    return CLI_DONE;
}

static int run_delete(struct cli *c)
{
    struct err e = {0};
    struct jv *operation = NULL, *gone = NULL;
    const char *name = api_service_name(c, c->args[0]);
    if (!name)
        return CLI_USAGE;
    if (!cli_confirm(c, "Service [%s] and all its revisions will be deleted.", cli_basename(name)))
        return CLI_FAILED;
    if (api_call(c, "DELETE", api_path(c, "v2", name, ""), NULL, &operation, &e))
        return cli_fail(c, &e);
    if (!cli_given(c, "async") && api_wait(c, cli_printf(c, "Deleting [%s]", cli_basename(name)), operation, &gone, &e))
        return cli_fail(c, &e);
    cli_say(c, "Deleted service [%s].", cli_basename(name));
    return CLI_DONE;
}

/* ---- policies ---- */

static struct jv *binding_of(struct jv *policy, const char *role)
{
    struct jv *bindings = jv_need_array(policy, "bindings");
    for (struct jv *i = jv_first(bindings); i; i = jv_next(i))
        if (strcmp(jv_text(i, "role"), role) == 0 && !jv_at(i, "condition"))
            return i;
    struct jv *b = jv_object();
    jv_put_text(b, "role", role);
    jv_add(bindings, b);
    return b;
}

static struct jv *member_of(struct jv *members, const char *member)
{
    for (struct jv *i = jv_first(members); i; i = jv_next(i))
        if (strcmp(jv_show(i), member) == 0)
            return i;
    return NULL;
}

int policy_change(struct cli *c, const char *resource, const char *member, const char *role, bool add, struct jv **policy, struct err *e)
{
    struct jv *now = NULL, *body = jv_object();
    int rc = api_call(c, "GET", api_path(c, "v2", resource, ":getIamPolicy"), NULL, &now, e);
    if (rc)
        return rc;
    struct jv *binding = binding_of(now, role), *members = jv_need_array(binding, "members"), *there = member_of(members, member);
    *policy = now;
    if (!add && !there)
        return err_set(e, ERR_NOT_FOUND, "the policy gives %s to no member '%s'", role, member);
    if (add && there)
        return 0;
    if (add)
        jv_add(members, jv_string(member));
    else
        jv_remove(members, there);
    if (!jv_first(members))
        jv_remove(jv_at(now, "bindings"), binding);
    jv_put(body, "policy", jv_copy(now));
    return api_call(c, "POST", api_path(c, "v2", resource, ":setIamPolicy"), body, policy, e);
}

static int change_binding(struct cli *c, bool add)
{
    struct err e = {0};
    struct jv *policy = NULL;
    const char *name = api_service_name(c, c->args[0]), *member = cli_text(c, "member");
    if (!name)
        return CLI_USAGE;
    if (!strchr(member, ':') && strcmp(member, "allUsers") && strcmp(member, "allAuthenticatedUsers"))
        return cli_usage_error(c, "--member: '%s' is none of allUsers, allAuthenticatedUsers, serviceAccount:EMAIL, user:EMAIL", member);
    if (policy_change(c, name, member, cli_text(c, "role"), add, &policy, &e))
        return cli_fail(c, &e);
    cli_say(c, "Updated IAM policy for service [%s].", cli_basename(name));
    cli_show(c, policy);
    return CLI_DONE;
}

static int run_add_binding(struct cli *c) { return change_binding(c, true); }
static int run_remove_binding(struct cli *c) { return change_binding(c, false); }

static int run_get_policy(struct cli *c)
{
    struct err e = {0};
    struct jv *policy = NULL;
    const char *name = api_service_name(c, c->args[0]);
    if (!name)
        return CLI_USAGE;
    if (api_call(c, "GET", api_path(c, "v2", name, ":getIamPolicy"), NULL, &policy, &e))
        return cli_fail(c, &e);
    cli_show(c, policy);
    return CLI_DONE;
}

static const struct cli_flag delete_flags[] = {
    CLI_FLAG("async", CLI_SWITCH, "", "do not wait until its instances have stopped"),
    {0},
};
static const struct cli_flag binding_flags[] = {
    CLI_FLAG("member", CLI_TEXT, "MEMBER", "allUsers, allAuthenticatedUsers, serviceAccount:EMAIL or user:EMAIL", .required = true),
    CLI_FLAG("role", CLI_TEXT, "ROLE", "what the member may do; " INVOKER_ROLE " may call the service", .dflt = INVOKER_ROLE),
    {0},
};
const struct cli_command cli_service_commands[] = {
    {"run services list", "", "list services",
     "name.basename():label=SERVICE,uri:label=URL,latestReadyRevision.basename():label=REVISION,updateTime:label=LAST_DEPLOYED,ready:label=READY",
     NULL, EXAMPLES("runnel run services list", "runnel run services list --format='value(name.basename(),uri)'"), run_list},
    {"run services describe", "SERVICE", "show one service", NULL, NULL,
     EXAMPLES("runnel run services describe hello", "runnel run services describe hello --format='value(uri)'"), run_describe},
    {"run services delete", "SERVICE", "delete a service and its revisions", NULL, delete_flags,
     EXAMPLES("runnel run services delete hello", "runnel run services delete hello --quiet --async"), run_delete},
    {"run services add-iam-policy-binding", "SERVICE", "let somebody call a service", NULL, binding_flags,
     EXAMPLES(
         "runnel run services add-iam-policy-binding hello --member=serviceAccount:pusher@local-project.iam.gserviceaccount.com --role=" INVOKER_ROLE,
         "runnel run services add-iam-policy-binding hello --member=allUsers"),
     run_add_binding},
    {"run services remove-iam-policy-binding", "SERVICE", "take that back", NULL, binding_flags,
     EXAMPLES("runnel run services remove-iam-policy-binding hello --member=allUsers --role=" INVOKER_ROLE), run_remove_binding},
    {"run services get-iam-policy", "SERVICE", "show who may call a service", NULL, NULL,
     EXAMPLES("runnel run services get-iam-policy hello"), run_get_policy},
    {0},
};
