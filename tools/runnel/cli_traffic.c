/* cli_traffic.c: `runnel run services update-traffic`: which revision gets how much, and which tags lead where. */
#include "tools/runnel/cli_api.h"
#include "tools/runnel/cli_commands.h"
#include "tools/runnel/cli_output.h"
#include "tools/runnel/cli_service.h"

#include <stdlib.h>

#define LATEST "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"
#define REVISION "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"

static bool is_latest(const struct jv *target) { return strcmp(jv_text(target, "type"), LATEST) == 0; }

/* `revision` "" or LATEST stands for the latest ready one, as in gcloud. */
static struct jv *target_new(const char *revision, int64_t percent, const char *tag)
{
    struct jv *t = jv_object();
    const bool latest = !*revision || strcmp(revision, "LATEST") == 0;
    jv_put_text(t, "type", latest ? LATEST : REVISION);
    jv_put_text(t, "revision", latest ? NULL : revision);
    if (percent)
        jv_put(t, "percent", jv_number((double)percent));
    jv_put_text(t, "tag", tag && *tag ? tag : NULL);
    return t;
}

struct jv *traffic_of(const struct jv *service)
{
    struct jv *traffic = jv_copy(jv_at(service, "traffic"));
    if (!jv_is_array(traffic))
        traffic = jv_array();
    if (!jv_first(traffic))
        jv_add(traffic, target_new("", 100, NULL));
    return traffic;
}

int traffic_pin(struct jv *traffic, const struct jv *service, struct err *e)
{
    const char *serving = cli_basename(jv_text(service, "latestReadyRevision"));
    if (!*serving)
        return err_set(e, ERR_FAILED_PRECONDITION, "no revision of the service is ready, so --no-traffic would leave it without any");
    for (struct jv *i = jv_first(traffic); i; i = jv_next(i))
        if (is_latest(i)) {
            jv_put_text(i, "type", REVISION);
            jv_put_text(i, "revision", serving);
        }
    return 0;
}

/* Take one tag away, or with NULL all; a target that had nothing but its tag goes too. */
static void remove_tag(struct jv *traffic, const char *tag)
{
    for (struct jv *i = jv_first(traffic), *next; i; i = next) {
        next = jv_next(i);
        if (!*jv_text(i, "tag") || (tag && strcmp(jv_text(i, "tag"), tag)))
            continue;
        if (jv_int(i, "percent") == 0)
            jv_remove(traffic, i);
        else
            jv_drop(i, "tag");
    }
}

void traffic_tag(struct jv *traffic, const char *tag, const char *revision)
{
    remove_tag(traffic, tag);
    jv_add(traffic, target_new(revision, 0, tag));
}

const char *traffic_revision(const struct jv *service, const struct jv *target)
{
    const char *name = jv_text(target, "revision");
    return cli_basename(*name ? name : jv_text(service, "latestReadyRevision"));
}

int64_t traffic_percent(const struct jv *service, const char *revision)
{
    int64_t percent = 0;
    for (const struct jv *i = jv_first(jv_at(service, "trafficStatuses")); i; i = jv_next(i))
        if (strcmp(traffic_revision(service, i), revision) == 0)
            percent += jv_int(i, "percent");
    return percent;
}

void traffic_show(struct cli *c, const struct jv *service)
{
    if (!cli_format_default(c))
        return;
    cli_say(c, "Traffic of service [%s], %s:", cli_basename(jv_text(service, "name")), jv_text(service, "uri"));
    for (const struct jv *i = jv_first(jv_at(service, "trafficStatuses")); i; i = jv_next(i))
        cli_say(c, "  %3d %%  %s%s%s%s%s", (int)jv_int(i, "percent"), traffic_revision(service, i), *jv_text(i, "tag") ? "  tag " : "",
                jv_text(i, "tag"), *jv_text(i, "uri") ? "  " : "", jv_text(i, "uri"));
}

/* ---- shares ---- */

/* "NAME=50" split; -1 after a usage error. */
static int64_t parse_share(struct cli *c, const char *flag, const char *pair, const char **name)
{
    const char *equals = strchr(pair, '=');
    char *end = NULL;
    const long percent = strtol(equals + 1, &end, 10);
    if (end == equals + 1 || *end || percent < 0 || percent > 100) {
        cli_usage_error(c, "--%s: '%s' is no percentage from 0 to 100", flag, equals + 1);
        return -1;
    }
    *name = cli_copy(c, (struct str){pair, (size_t)(equals - pair)});
    return percent;
}

static const char *revision_of_tag(struct cli *c, const struct jv *traffic, const char *tag)
{
    for (const struct jv *i = jv_first(traffic); i; i = jv_next(i))
        if (strcmp(jv_text(i, "tag"), tag) == 0)
            return is_latest(i) ? "LATEST" : jv_text(i, "revision");
    cli_usage_error(c, "--to-tags: there is no tag '%s' (set it with --update-tags)", tag);
    return NULL;
}

static bool named(const struct jv *shares, const char *revision) { return jv_at(shares, revision) != NULL; }

/* What is not named shares the rest, in proportion to what it had. */
static int spread_rest(struct cli *c, struct jv *result, const struct jv *traffic, const struct jv *shares, int64_t rest)
{
    int64_t had = 0, given = 0;
    struct jv *last = NULL;
    for (const struct jv *i = jv_first(traffic); i; i = jv_next(i))
        if (!named(shares, is_latest(i) ? "LATEST" : jv_text(i, "revision")))
            had += jv_int(i, "percent");
    if (rest > 0 && had == 0)
        return cli_usage_error(c, "the percentages make %d, not 100, and no other revision has traffic that could take the rest",
                               (int)(100 - rest));
    for (const struct jv *i = jv_first(traffic); i && rest > 0; i = jv_next(i)) {
        if (named(shares, is_latest(i) ? "LATEST" : jv_text(i, "revision")) || jv_int(i, "percent") == 0)
            continue;
        const int64_t part = jv_int(i, "percent") * rest / had;
        given += part;
        last = target_new(jv_text(i, "revision"), part, NULL);
        jv_add(result, last);
    }
    if (last) /* rounding goes to the last */
        jv_put(last, "percent", jv_number((double)(jv_int(last, "percent") + rest - given)));
    return CLI_DONE;
}

/* --to-revisions and --to-tags: `result` gets the targets with a percentage. */
static int assign_shares(struct cli *c, struct jv *result, const struct jv *traffic)
{
    static const char *const flags[] = {"to-revisions", "to-tags"};
    struct jv *shares = jv_object();
    int64_t sum = 0;
    for (size_t f = 0; f < ARRAY_LEN(flags); f++) {
        const char *const *pairs = cli_list(c, flags[f], NULL);
        for (size_t i = 0; pairs[i]; i++) {
            const char *name = NULL;
            const int64_t percent = parse_share(c, flags[f], pairs[i], &name);
            if (percent < 0)
                return CLI_USAGE;
            if (f == 1 && !(name = revision_of_tag(c, traffic, name)))
                return CLI_USAGE;
            sum += percent;
            jv_set(shares, name, jv_number((double)percent));
            if (percent > 0)
                jv_add(result, target_new(name, percent, NULL));
        }
    }
    if (sum > 100)
        return cli_usage_error(c, "the percentages make %d, more than 100", (int)sum);
    return spread_rest(c, result, traffic, shares, 100 - sum);
}

static void keep_shares(struct jv *result, const struct jv *traffic)
{
    for (const struct jv *i = jv_first(traffic); i; i = jv_next(i))
        if (jv_int(i, "percent") > 0)
            jv_add(result, target_new(jv_text(i, "revision"), jv_int(i, "percent"), NULL));
}

static void keep_tags(struct jv *result, const struct jv *traffic)
{
    for (const struct jv *i = jv_first(traffic); i; i = jv_next(i))
        if (*jv_text(i, "tag"))
            jv_add(result, target_new(jv_text(i, "revision"), 0, jv_text(i, "tag")));
}

static void change_tags(struct cli *c, struct jv *result)
{
    static const char *const flags[] = {"set-tags", "update-tags"};
    const char *const *gone = cli_list(c, "remove-tags", NULL);
    for (size_t i = 0; gone[i]; i++)
        remove_tag(result, gone[i]);
    if (cli_given(c, "set-tags") || cli_given(c, "clear-tags"))
        remove_tag(result, NULL);
    for (size_t f = 0; f < ARRAY_LEN(flags); f++) {
        const char *const *pairs = cli_list(c, flags[f], NULL);
        for (size_t i = 0; pairs[i]; i++) {
            const char *equals = strchr(pairs[i], '=');
            traffic_tag(result, cli_copy(c, (struct str){pairs[i], (size_t)(equals - pairs[i])}), equals + 1);
        }
    }
}

static int run_update_traffic(struct cli *c)
{
    struct err e = {0};
    struct jv *now = NULL, *body = jv_object(), *result = jv_array();
    const char *name = api_service_name(c, c->args[0]);
    if (!name)
        return CLI_USAGE;
    if (c->n_given == 0)
        return cli_usage_error(c, "nothing to change: give for example --to-latest");
    const bool shares = cli_given(c, "to-revisions") || cli_given(c, "to-tags");
    if (shares && cli_given(c, "to-latest"))
        return cli_usage_error(c, "--to-latest sends everything to the latest revision: it goes with no other percentage");
    if (service_get(c, name, &now, &e))
        return cli_fail(c, &e);
    struct jv *traffic = traffic_of(now);
    if (cli_given(c, "to-latest"))
        jv_add(result, target_new("", 100, NULL));
    else if (!shares)
        keep_shares(result, traffic);
    else if (assign_shares(c, result, traffic))
        return CLI_USAGE;
    keep_tags(result, traffic);
    change_tags(c, result);
    jv_put(body, "traffic", result);
    return service_roll_out(c, name, body, "traffic");
}

static const struct cli_flag traffic_flags[] = {
    CLI_FLAG("to-latest", CLI_SWITCH, "", "all traffic to the latest ready revision, now and after each deploy"),
    CLI_FLAG("to-revisions", CLI_MAP, "REVISION=PERCENT,...", "percentages; LATEST is the latest one; what is not named shares the rest"),
    CLI_FLAG("to-tags", CLI_MAP, "TAG=PERCENT,...", "percentages of the revisions that tags lead to"),
    CLI_FLAG("set-tags", CLI_MAP, "TAG=REVISION,...", "these tags, in place of all there were"),
    CLI_FLAG("update-tags", CLI_MAP, "TAG=REVISION,...", "tags to add or move"),
    CLI_FLAG("remove-tags", CLI_LIST, "TAG,...", "tags to take away"),
    CLI_FLAG("clear-tags", CLI_SWITCH, "", "take all tags away"),
    CLI_FLAG("async", CLI_SWITCH, "", "do not wait until it is done"),
    {0},
};
const struct cli_command cli_traffic_commands[] = {
    {"run services update-traffic", "SERVICE", "split traffic between revisions", NULL, traffic_flags,
     EXAMPLES("runnel run services update-traffic hello --to-latest",
              "runnel run services update-traffic hello --to-revisions=hello-00001-abc=90,LATEST=10",
              "runnel run services update-traffic hello --update-tags=next=hello-00002-xyz",
              "runnel run services update-traffic hello --to-tags=next=50"),
     run_update_traffic},
    {0},
};
