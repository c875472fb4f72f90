/* serve_options.c: parses and checks the options of `runnel serve`. */
#include "tools/runnel/serve_options.h"

#include "core/base/text.h"
#include "dispatcher/io.h"
#include "executor/executor.h"
#include "core/base/near.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
    const char *flag, *arg, *def, *help;
    size_t offset;
} rows[] = {
#define SERVE_ROW(field, flag, arg, def, help) {flag, arg, def, help, offsetof(struct serve_options, field)},
    SERVE_OPTIONS(SERVE_ROW)
#undef SERVE_ROW
};

void serve_options_help(void)
{
    printf("Run the server: the API, the services' ingress and the broker on one port.\n\n"
           "Usage:\n  runnel serve [FLAGS]\n\nFlags:\n");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char left[64];
        snprintf(left, sizeof left, "%s=%s", rows[i].flag, rows[i].arg);
        printf("  %-24s %s\n  %-24s default: %s\n", left, rows[i].help, "", rows[i].def);
    }
    printf("\nExamples:\n"
           "  runnel serve\n"
           "  runnel serve --listen=127.0.0.1:9000 --data=/var/lib/runnel\n"
           "  runnel serve --listen=0.0.0.0:8080 --auth=token:/etc/runnel/tokens\n");
}

int duration_parse(const char *text, int64_t min_ns, int64_t max_ns, int64_t *out_ns, struct err *e)
{
    static const struct {
        const char *unit;
        int64_t ns;
    } units[] = {{"ms", NS_PER_MS}, {"s", NS_PER_S}, {"m", 60 * NS_PER_S}, {"h", 3600 * NS_PER_S}, {"", NS_PER_S}};
    char *end;
    errno = 0;
    double number = strtod(text, &end);
    if (end == text || errno || !(number >= 0 && number < 1e9))
        return err_set(e, ERR_INVALID_ARGUMENT, "'%s' is not a duration; write for example 500ms, 10s, 15m or 1h", text);
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (strcmp(end, units[i].unit) != 0)
            continue;
        int64_t ns = (int64_t)(number * (double)units[i].ns);
        if (ns < min_ns || ns > max_ns)
            return err_set(e, ERR_INVALID_ARGUMENT, "'%s' is outside %.0fs to %.0fs", text, (double)min_ns / 1e9, (double)max_ns / 1e9);
        *out_ns = ns;
        return 0;
    }
    return err_set(e, ERR_INVALID_ARGUMENT, "'%s' has no unit that is known; use ms, s, m or h", text);
}

static int unknown_flag(const char *name, struct err *e)
{
    static const char *const flags[] = {
#define SERVE_FLAG(field, flag, arg, def, help) flag,
        SERVE_OPTIONS(SERVE_FLAG)
#undef SERVE_FLAG
    };
    const char *near = near_word(name, flags, ARRAY_LEN(flags));
    if (near)
        return err_set(e, ERR_INVALID_ARGUMENT, "unknown flag %s; did you mean %s?", name, near);
    return err_set(e, ERR_INVALID_ARGUMENT, "unknown flag %s; see runnel serve --help", name);
}

static int take(struct serve_options *o, int argc, char **argv, int *i, struct err *e)
{
    char name[64];
    const char *equals = strchr(argv[*i], '=');
    size_t length = equals ? (size_t)(equals - argv[*i]) : strlen(argv[*i]);
    snprintf(name, sizeof name, "%.*s", (int)(length < sizeof name ? length : sizeof name - 1), argv[*i]);
    for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
        if (strcmp(name, rows[r].flag) != 0)
            continue;
        const char *value = equals ? equals + 1 : *i + 1 < argc ? argv[++*i] : NULL;
        if (!value || !*value)
            return err_set(e, ERR_INVALID_ARGUMENT, "%s needs a value: %s=%s", name, name, rows[r].arg);
        *(const char **)((char *)o + rows[r].offset) = value;
        return 0;
    }
    return unknown_flag(name, e);
}

static int parse_listen(struct serve_options *o, struct err *e)
{
    const char *text = o->listen ? o->listen : "127.0.0.1:8080";
    const char *colon = strrchr(text, ':');
    struct in_addr v4;
    struct in6_addr v6;
    uint64_t port;
    if (!colon || parse_u64(str_of(colon + 1), UINT16_MAX, &port, e))
        return err_set(e, ERR_INVALID_ARGUMENT, "--listen: '%s' is not ADDR:PORT, for example 127.0.0.1:8080", text);
    bool bracketed = text[0] == '[' && colon[-1] == ']';
    int n = snprintf(o->host, sizeof o->host, "%.*s", (int)(colon - text) - 2 * bracketed, text + bracketed);
    if (n <= 0 || (size_t)n >= sizeof o->host)
        return err_set(e, ERR_INVALID_ARGUMENT, "--listen: '%s' is not ADDR:PORT, for example 127.0.0.1:8080", text);
    o->port = (uint16_t)port;
    if (strcmp(o->host, "localhost") == 0)
        snprintf(o->host, sizeof o->host, "127.0.0.1");
    if (inet_pton(AF_INET, o->host, &v4) == 1)
        o->loopback = (ntohl(v4.s_addr) >> 24) == 127;
    else if (inet_pton(AF_INET6, o->host, &v6) == 1)
        o->loopback = IN6_IS_ADDR_LOOPBACK(&v6);
    else
        return err_set(e, ERR_INVALID_ARGUMENT, "--listen: '%s' is not an IP address of this host", o->host);
    if (!o->loopback && !o->auth)
        return err_set(e, ERR_INVALID_ARGUMENT,
                       "--listen=%s is reachable from other machines and the admin API would be open to them: "
                       "give --auth=token:FILE, or listen on 127.0.0.1",
                       text);
    return 0;
}

static int parse_data(struct serve_options *o, struct err *e)
{
    const char *xdg = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    int n;
    if (o->data)
        n = snprintf(o->data_dir, sizeof o->data_dir, "%s", o->data);
    else if (xdg && *xdg)
        n = snprintf(o->data_dir, sizeof o->data_dir, "%s/runnel", xdg);
    else if (home && *home)
        n = snprintf(o->data_dir, sizeof o->data_dir, "%s/.local/share/runnel", home);
    else
        return err_set(e, ERR_INVALID_ARGUMENT, "neither --data nor HOME says where to keep data; give --data=DIR");
    if ((size_t)n >= sizeof o->data_dir)
        return err_set(e, ERR_INVALID_ARGUMENT, "--data: the path is longer than %zu bytes", sizeof o->data_dir - 1);
    return 0;
}

static int parse_log(struct serve_options *o, struct err *e)
{
    static const struct {
        const char *name;
        enum log_level level;
    } levels[] = {{"debug", LOG_DEBUG}, {"info", LOG_INFO}, {"warn", LOG_WARN}, {"error", LOG_ERROR}};
    const char *name = o->log_level ? o->log_level : "info";
    bool known = false;
    for (size_t i = 0; i < ARRAY_LEN(levels); i++)
        if (strcmp(name, levels[i].name) == 0) {
            o->level = levels[i].level;
            known = true;
        }
    if (!known)
        return err_set(e, ERR_INVALID_ARGUMENT, "--log-level: '%s' is none of debug, info, warn, error", name);
    o->log_text = isatty(STDERR_FILENO);
    if (!o->log_format)
        return 0;
    o->log_text = strcmp(o->log_format, "text") == 0;
    if (!o->log_text && strcmp(o->log_format, "json") != 0)
        return err_set(e, ERR_INVALID_ARGUMENT, "--log-format: '%s' is neither text nor json", o->log_format);
    return 0;
}

static bool label_valid(const char *s, bool dots)
{
    size_t n = strlen(s);
    if (n == 0 || n > 63 || s[0] == '-' || s[0] == '.' || s[n - 1] == '-' || s[n - 1] == '.')
        return false;
    for (; *s; s++)
        if (!((*s >= 'a' && *s <= 'z') || (*s >= '0' && *s <= '9') || *s == '-' || (dots && *s == '.')))
            return false;
    return true;
}

static int parse_names(struct serve_options *o, struct err *e)
{
    o->project = o->project ? o->project : "local-project";
    o->region = o->region ? o->region : "europe-west1";
    o->domain = o->domain ? o->domain : "localhost";
    if (!label_valid(o->project, false))
        return err_set(e, ERR_INVALID_ARGUMENT, "--project: '%s' must be lower-case letters, digits and dashes", o->project);
    if (!label_valid(o->region, false))
        return err_set(e, ERR_INVALID_ARGUMENT, "--region: '%s' must be lower-case letters, digits and dashes", o->region);
    if (!label_valid(o->domain, true))
        return err_set(e, ERR_INVALID_ARGUMENT, "--domain: '%s' is not a domain name in lower case", o->domain);
    if (o->broker && strcmp(o->broker, "embedded") != 0)
        return err_set(e, ERR_INVALID_ARGUMENT, "--broker: '%s': only 'embedded' is built in so far", o->broker);
    if (o->auth && strncmp(o->auth, "token:", 6) != 0)
        return err_set(e, ERR_INVALID_ARGUMENT, "--auth: '%s': write token:FILE, a file with one bearer token per line", o->auth);
    if (o->auth && access(o->auth + 6, R_OK) != 0)
        return err_sys(e, ERR_INVALID_ARGUMENT, errno, "--auth: cannot read %s", o->auth + 6);
    return 0;
}

static int parse_numbers(struct serve_options *o, struct err *e)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t threads = cores > 0 ? (uint64_t)cores : 1;
    if (o->io_threads && (parse_u64(str_of(o->io_threads), IO_THREADS_MAX, &threads, e) || threads == 0))
        return err_set(e, ERR_INVALID_ARGUMENT, "--io-threads: '%s' is not a number from 1 to %d", o->io_threads, IO_THREADS_MAX);
    o->threads = threads > IO_THREADS_MAX ? IO_THREADS_MAX : (uint32_t)threads;
    if (duration_parse(o->idle ? o->idle : "15m", NS_PER_S, 24 * 3600 * NS_PER_S, &o->idle_ns, e))
        return err_wrap(e, "--idle");
    if (o->memory && (o->memory_bytes = executor_memory_bytes(o->memory)) == 0)
        return err_set(e, ERR_INVALID_ARGUMENT, "--memory: '%s' is not a size like 512Mi or 16Gi", o->memory);
    if (duration_parse(o->grace ? o->grace : "10s", 0, 3600 * NS_PER_S, &o->grace_ns, e))
        return err_wrap(e, "--grace");
    return 0;
}

static int parse_queues(struct serve_options *o, struct err *e)
{
    const char *max = o->max_schedule ? o->max_schedule : "720h";
    o->max_schedule_ns = -1;
    if (strcmp(max, "none") != 0 && duration_parse(max, NS_PER_S, 10000 * 3600 * NS_PER_S, &o->max_schedule_ns, e))
        return err_wrap(e, "--max-schedule");
    if (duration_parse(o->queue_name_hold ? o->queue_name_hold : "0s", 0, 720 * 3600 * NS_PER_S, &o->queue_name_hold_ns, e))
        return err_wrap(e, "--queue-name-hold");
    return 0;
}

int serve_options_parse(struct serve_options *o, int argc, char **argv, struct err *e)
{
    *o = (struct serve_options){0};
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            o->help = true;
            return 0;
        }
        int rc = take(o, argc, argv, &i, e);
        if (rc)
            return rc;
    }
    int rc = parse_listen(o, e);
    rc = rc ? rc : parse_data(o, e);
    rc = rc ? rc : parse_log(o, e);
    rc = rc ? rc : parse_names(o, e);
    rc = rc ? rc : parse_numbers(o, e);
    return rc ? rc : parse_queues(o, e);
}
