/* cli_deploy.c: `runnel run deploy` and `runnel run services update`: from flags to a service, and the wait for its roll-out. */
#include "core/base/random.h"
#include "tools/runnel/cli_api.h"
#include "tools/runnel/cli_commands.h"
#include "tools/runnel/cli_container.h"
#include "tools/runnel/cli_output.h"
#include "tools/runnel/cli_service.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- the service as the API has it ---- */

int service_get(struct cli *c, const char *name, struct jv **service, struct err *e)
{
    return api_call(c, "GET", api_path(c, "v2", name, ""), NULL, service, e);
}

/* What of a service may be sent back: without what only the server writes. */
static struct jv *writable(struct cli *c, const struct jv *service)
{
    static const char *const fields[] = {"description",
                                         "labels",
                                         "annotations",
                                         "ingress",
                                         "launchStage",
                                         "template",
                                         "traffic",
                                         "scaling",
                                         "invokerIamDisabled",
                                         "defaultUriDisabled",
                                         "customAudiences",
                                         "etag"};
    struct jv *w = jv_object();
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        jv_put(w, fields[i], jv_copy(jv_at(service, fields[i])));
    jv_put_text(w, "client", "runnel");
    jv_put_text(w, "clientVersion", RUNNEL_VERSION);
    return w;
}

/* "hello-00003-abc": the name that the next revision gets when it must be known before. */
static const char *next_revision(struct cli *c, const struct jv *service, const char *short_name)
{
    struct rng rng;
    char letters[4];
    rng_seed_os(&rng);
    for (size_t i = 0; i < 3; i++)
        letters[i] = (char)('a' + rng_below(&rng, 26));
    letters[3] = 0;
    return cli_printf(c, "%s-%05lld-%s", short_name, (long long)(service ? jv_int(service, "generation") : 0) + 1, letters);
}

/* ---- flags into the template ---- */

/* "tcpSocket.port=8080,periodSeconds=1": numbers are sent as numbers. */
static void put_probe(struct cli *c, struct jv *container)
{
    if (!cli_given(c, "startup-probe"))
        return;
    const char *const *pairs = cli_list(c, "startup-probe", NULL);
    struct jv *probe = jv_put(container, "startupProbe", jv_object());
    for (size_t i = 0; pairs[i]; i++) {
        const char *equals = strchr(pairs[i], '=');
        const char *field = cli_copy(c, (struct str){pairs[i], (size_t)(equals - pairs[i])});
        char *end = NULL;
        const double number = strtod(equals + 1, &end);
        jv_put(probe, field, equals[1] && !*end ? jv_number(number) : jv_string(equals + 1));
    }
    if (!jv_first(probe))
        jv_drop(container, "startupProbe");
}

static void put_service_container(struct cli *c, struct jv *tmpl)
{
    struct jv *container = container_put(c, tmpl);
    put_probe(c, container);
    if (cli_given(c, "port")) {
        struct jv *ports = jv_put(container, "ports", jv_array()), *port = jv_object();
        jv_put(port, "containerPort", jv_number((double)cli_int(c, "port")));
        jv_add(ports, port);
    }
}

static void put_flags(struct cli *c, struct jv *service)
{
    struct jv *tmpl = jv_need_object(service, "template");
    put_service_container(c, tmpl);
    flag_put_number(c, tmpl, "maxInstanceRequestConcurrency", "concurrency");
    flag_put_number(c, tmpl, "scaling.minInstanceCount", "min-instances");
    flag_put_number(c, tmpl, "scaling.maxInstanceCount", "max-instances");
    jv_put_text(tmpl, "timeout", cli_duration(c, "timeout"));
    jv_put_text(tmpl, "serviceAccount", cli_text(c, "service-account"));
    flags_put_labels(c, service);
    const char *weight = cli_text(c, "weight"); /* the service's, so that another one makes no new revision */
    if (weight)
        jv_set(jv_need_object(service, "annotations"), "runnel.dev/weight", strcmp(weight, "0") == 0 ? NULL : jv_string(weight));
}

/* Name the revision where it must be known, and say which traffic it gets. `now` is NULL for a new service. */
static int put_traffic(struct cli *c, struct jv *body, const struct jv *now, const char *short_name, struct err *e)
{
    const char *suffix = cli_text(c, "revision-suffix"), *tag = cli_text(c, "tag");
    jv_drop(body, "template.revision");
    if (suffix)
        jv_put_text(body, "template.revision", cli_printf(c, "%s-%s", short_name, suffix));
    else if (tag)
        jv_put_text(body, "template.revision", next_revision(c, now, short_name));
    if (!tag && !cli_given(c, "no-traffic"))
        return 0;
    struct jv *traffic = traffic_of(now);
    const int rc = cli_given(c, "no-traffic") ? traffic_pin(traffic, now, e) : 0;
    if (tag)
        traffic_tag(traffic, tag, jv_text(body, "template.revision"));
    jv_put(body, "traffic", traffic);
    return rc;
}

/* ---- rolling out ---- */

static void tell_done(struct cli *c, const struct jv *service)
{
    const char *revision = cli_basename(jv_text(service, "latestReadyRevision"));
    cli_say(c, "Service [%s] revision [%s] has been deployed and is serving %d percent of traffic.", cli_basename(jv_text(service, "name")),
            revision, (int)traffic_percent(service, revision));
    cli_say(c, "Service URL: %s", jv_text(service, "uri"));
    for (const struct jv *i = jv_first(jv_at(service, "trafficStatuses")); i && cli_given(c, "tag"); i = jv_next(i))
        if (strcmp(jv_text(i, "tag"), cli_text(c, "tag")) == 0)
            cli_say(c, "The revision can be reached directly at %s", jv_text(i, "uri"));
}

/* Wait for the operation; tells the outcome in the command's own words through `done`. */
static int finish(struct cli *c, const char *name, const char *what, const struct jv *operation,
                  void (*done)(struct cli *, const struct jv *))
{
    struct err e = {0};
    struct jv *service = NULL;
    if (cli_given(c, "async")) {
        cli_say(c, "Service [%s] is being changed; see `runnel run services describe %s`.", cli_basename(name), cli_basename(name));
        cli_show_made(c, operation);
        return CLI_DONE;
    }
    if (api_wait(c, what, operation, &service, &e)) {
        const int rc = cli_fail(c, &e);
        cli_say(c, "What the program wrote: runnel run services logs read %s", cli_basename(name));
        return rc;
    }
    done(c, service);
    cli_show_made(c, service);
    return CLI_DONE;
}

int service_roll_out(struct cli *c, const char *name, struct jv *body, const char *mask)
{
    struct err e = {0};
    struct jv *operation = NULL;
    const char *suffix = mask ? cli_printf(c, "?updateMask=%s", mask) : "";
    if (api_call(c, "PATCH", api_path(c, "v2", name, suffix), body, &operation, &e))
        return cli_fail(c, &e);
    const bool only_traffic = mask && strcmp(mask, "traffic") == 0;
    return finish(c, name, cli_printf(c, "%s [%s]", only_traffic ? "Routing traffic of" : "Updating", cli_basename(name)), operation,
                  only_traffic ? traffic_show : tell_done);
}

static int set_public(struct cli *c, const char *name)
{
    struct err e = {0};
    struct jv *policy = NULL;
    if (!cli_given(c, "allow-unauthenticated"))
        return CLI_DONE;
    if (policy_change(c, name, "allUsers", INVOKER_ROLE, cli_bool(c, "allow-unauthenticated"), &policy, &e) == 0)
        return CLI_DONE;
    if (e.code == ERR_NOT_FOUND && !cli_bool(c, "allow-unauthenticated"))
        return CLI_DONE; /* there was nothing to take away */
    return cli_fail(c, &e);
}

static int create(struct cli *c, const char *name)
{
    struct err e = {0};
    struct jv *body = jv_object(), *operation = NULL;
    if (!cli_given(c, "image"))
        return cli_usage_error(c, "the service [%s] does not exist yet, so --image=IMAGE is needed", cli_basename(name));
    if (cli_given(c, "no-traffic"))
        return cli_usage_error(c, "--no-traffic is for a service that exists: the first revision gets all traffic");
    jv_put_text(body, "client", "runnel");
    put_flags(c, body);
    if (put_traffic(c, body, NULL, cli_basename(name), &e))
        return cli_fail(c, &e);
    const char *parent = cli_copy(c, (struct str){name, (size_t)(strstr(name, "/services/") - name)});
    const char *path =
        api_path(c, "v2", parent, cli_printf(c, "/services?serviceId=%s", cli_basename(api_path(c, "", cli_basename(name), ""))));
    if (api_call(c, "POST", path, body, &operation, &e))
        return cli_fail(c, &e);
    const int rc = set_public(c, name);
    return rc ? rc : finish(c, name, cli_printf(c, "Deploying new service [%s]", cli_basename(name)), operation, tell_done);
}

static int update(struct cli *c, const char *name, const struct jv *now)
{
    struct err e = {0};
    struct jv *body = writable(c, now);
    put_flags(c, body);
    if (put_traffic(c, body, now, cli_basename(name), &e))
        return cli_fail(c, &e);
    const int rc = set_public(c, name);
    return rc ? rc : service_roll_out(c, name, body, NULL);
}

static int run_deploy(struct cli *c)
{
    struct err e = {0};
    struct jv *now = NULL;
    const char *name = api_service_name(c, c->args[0]);
    if (!name)
        return CLI_USAGE;
    if (service_get(c, name, &now, &e) == 0)
        return update(c, name, now);
    return e.code == ERR_NOT_FOUND ? create(c, name) : cli_fail(c, &e);
}

static int run_update(struct cli *c)
{
    struct err e = {0};
    struct jv *now = NULL;
    const char *name = api_service_name(c, c->args[0]);
    if (!name)
        return CLI_USAGE;
    if (service_get(c, name, &now, &e))
        return cli_fail(c, &e);
    return update(c, name, now);
}

#define TEMPLATE_FLAGS                                                                                                                \
    CONTAINER_FLAGS,                                                                                                                  \
        CLI_FLAG("port", CLI_INT, "PORT", "kept for information: the program gets a free port as PORT and listens on that", .min = 1, \
                 .max = 65535),                                                                                                       \
        CLI_FLAG("concurrency", CLI_INT, "N", "requests at once for each instance", .min = 1, .max = 1000),                           \
        CLI_FLAG("min-instances", CLI_INT, "N", "instances that always run", .min = 0, .max = 1000),                                  \
        CLI_FLAG("max-instances", CLI_INT, "N", "instances at most", .min = 1, .max = 1000),                                          \
        CLI_FLAG("timeout", CLI_DURATION, "DURATION", "a request may take so long, then 504 (up to 1h)"),                             \
        CLI_FLAG("service-account", CLI_TEXT, "EMAIL",                                                                                \
                 "kept for information: the metadata server gives the project's default account to every program"),                   \
        CLI_FLAG("startup-probe", CLI_MAP, "FIELD=VALUE,...",                                                                         \
                 "when an instance is ready: tcpSocket.port, httpGet.path, periodSeconds, ..."),                                      \
        LABEL_FLAGS, WEIGHT_FLAG, CLI_FLAG("no-traffic", CLI_SWITCH, "", "the new revision gets no traffic"),                         \
        CLI_FLAG("tag", CLI_TEXT, "TAG", "the new revision also answers at http://TAG---SERVICE.DOMAIN/"),                            \
        CLI_FLAG("revision-suffix", CLI_TEXT, "SUFFIX", "name the new revision SERVICE-SUFFIX"),                                      \
        CLI_FLAG("async", CLI_SWITCH, "", "do not wait until it serves")

static const struct cli_flag deploy_flags[] = {
    TEMPLATE_FLAGS,
    CLI_FLAG("allow-unauthenticated", CLI_BOOL, "", "everybody may call it; without it, only who has " INVOKER_ROLE),
    {0},
};
static const struct cli_flag update_flags[] = {TEMPLATE_FLAGS, {0}};

const struct cli_command cli_run_commands[] = {
    {"run deploy", "SERVICE", "deploy a service, or a new revision of it", NULL, deploy_flags,
     EXAMPLES("runnel run deploy hello --image=exec://$PWD/build --command=runnel-sample --allow-unauthenticated",
              "runnel run deploy hello --update-env-vars=MODE=test --concurrency=10 --max-instances=3",
              "runnel run deploy hello --image=exec:///opt/hello --command=python3 --args=server.py --no-traffic --tag=next"),
     run_deploy},
    {"run services update", "SERVICE", "change a service that exists", NULL, update_flags,
     EXAMPLES("runnel run services update hello --min-instances=1", "runnel run services update hello --set-env-vars='^;^A=1,2;B=3'",
              "runnel run services update hello --weight=400"),
     run_update},
    {0},
};
