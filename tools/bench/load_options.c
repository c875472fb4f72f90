/* load_options.c: one table of options gives the parser and the help. */
#include "tools/bench/load_options.h"
#include "tools/bench/util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name, *help;
    enum mode mode;
} modes[] = {
    {"push", "a POST as Runnel pushes one: envelope, token", MODE_PUSH},
    {"publish", "durable publish of --batch messages to --topic", MODE_PUBLISH},
    {"post", "a POST of --data bytes to / (name a service by --host)", MODE_POST},
    {"pull", "pull up to --batch messages of --subscription and acknowledge them; --requests counts messages", MODE_PULL},
    {"task", "create --batch tasks, in the queues --queue-0, -1 and so on in turns", MODE_TASK},
    {"http", "what --method, --path and --body say; %d in them is the number of the request", MODE_HTTP},
};

/* name, minimum, maximum, default as shown, help; all whole numbers */
#define NUMBERS(X)                                                                                  \
    X(port, "--port", 1, 65535, 0, "of the server, on 127.0.0.1")                                   \
    X(clients, "--clients", 1, 20000, 64, "connections, each with one request under way")           \
    X(requests, "--requests", 1, 1000000000, 100000, "how many are measured")                       \
    X(seconds, "--seconds", 1, 3600, 0, "instead of a number of requests: for so long")             \
    X(warmup, "--warmup", 0, 1000000000, 0, "requests that are sent before and not measured")       \
    X(pause_ms, "--pause-ms", 1, 60000, 0, "wait before each request; for one client")              \
    X(timeout_ms, "--timeout-ms", 1, 600000, 10000, "give up when nothing is answered for so long") \
    X(data, "--data", 0, 1000000, 300, "bytes of a message, or of a plain body")                    \
    X(token, "--token", 0, 8000, 765, "bytes of the token of a push; 0: none")                      \
    X(batch, "--batch", 1, 1000, 1, "messages of a publish or a pull, tasks of a creation")         \
    X(rate, "--rate", 1, 10000000, 0, "at most so many requests a second, evenly")                  \
    X(queues, "--queues", 1, 100000, 1, "how many queues take turns")                               \
    X(target, "--target", 1, 65535, 9, "the port of 127.0.0.1 that a task calls")                   \
    X(due_ms, "--due-ms", 1, 100000000000000, 0, "when the first task is due, since 1970")          \
    X(step_us, "--step-us", 0, 3600000000, 0, "each further task is due so much later")
enum {
#define NUMBER_ENUM(field, name, min, max, def, help) N_##field,
    NUMBERS(NUMBER_ENUM)
#undef NUMBER_ENUM
        N_COUNT
};
static const struct {
    const char *name;
    int64_t min, max, def;
    const char *help;
} numbers[] = {
#define NUMBER_ROW(field, name, min, max, def, help) {name, min, max, def, help},
    NUMBERS(NUMBER_ROW)
#undef NUMBER_ROW
};

static const struct {
    const char *name;
    size_t offset;
    const char *help;
} texts[] = {
    {"--host", offsetof(struct request_options, host), "the Host header"},
    {"--method", offsetof(struct request_options, method), "GET, PUT and so on"},
    {"--path", offsetof(struct request_options, path), "the request target"},
    {"--body", offsetof(struct request_options, body), "JSON to send"},
    {"--topic", offsetof(struct request_options, topic), "id of a topic (bench)"},
    {"--subscription", offsetof(struct request_options, subscription), "id of a subscription (bench)"},
    {"--queue", offsetof(struct request_options, queue), "id of the queues, without their numbers (bench)"},
};

static void help(void)
{
    printf("usage: load MODE --port N [OPTIONS]\n\nModes:\n");
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        printf("  %-16s %s\n", modes[i].name, modes[i].help);
    printf("\nOptions:\n");
    for (size_t i = 0; i < N_COUNT; i++)
        printf("  %-16s %s (%lld)\n", numbers[i].name, numbers[i].help, (long long)numbers[i].def);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        printf("  %-16s %s\n", texts[i].name, texts[i].help);
    printf("  %-16s print one request and send nothing\n", "--print");
    exit(0);
}

static bool take(struct load_options *o, int64_t *values, const char *name, const char *value)
{
    for (size_t i = 0; i < N_COUNT; i++)
        if (strcmp(name, numbers[i].name) == 0) {
            values[i] = parse_number(name, value, numbers[i].min, numbers[i].max);
            return true;
        }
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (strcmp(name, texts[i].name) == 0) {
            *(const char **)((char *)&o->request + texts[i].offset) = value;
            return true;
        }
    return false;
}

static enum mode parse_mode(const char *text)
{
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (strcmp(text, modes[i].name) == 0)
            return modes[i].mode;
    die_usage("there is no mode '%s'; see load --help", text);
}

static void check(const struct load_options *o)
{
    if (!o->request.port && !o->print)
        die_usage("--port says where the server is");
    if (o->rate && o->pause_ms)
        die_usage("--rate and --pause-ms do not go together");
    if (o->pause_ms && o->clients != 1)
        die_usage("--pause-ms is for --clients 1");
}

void load_options_parse(struct load_options *o, int argc, char **argv)
{
    int64_t values[N_COUNT];
    *o = (struct load_options){.request = {.topic = "bench", .subscription = "bench", .queue = "bench"}};
    for (size_t i = 0; i < N_COUNT; i++)
        values[i] = numbers[i].def;
    if (argc < 2 || strcmp(argv[1], "--help") == 0)
        help();
    o->request.mode = parse_mode(argv[1]);
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--print") == 0) {
            o->print = true;
        } else if (i + 1 == argc || !take(o, values, argv[i], argv[i + 1])) {
            die_usage("%s is unknown or has no value; see load --help", argv[i]);
        } else {
            i++;
        }
    }
    o->request.port = (uint16_t)values[N_port];
    o->request.data_bytes = (size_t)values[N_data];
    o->request.token_bytes = (size_t)values[N_token];
    o->request.batch = (size_t)values[N_batch];
    o->request.queues = (uint64_t)values[N_queues];
    o->request.target = (uint16_t)values[N_target];
    o->request.due_ms = values[N_due_ms];
    o->request.step_us = values[N_step_us];
    o->rate = values[N_rate];
    o->clients = (uint64_t)values[N_clients];
    o->requests = (uint64_t)values[N_requests];
    o->warmup = (uint64_t)values[N_warmup];
    o->seconds_ns = values[N_seconds] * 1000000000;
    o->pause_ms = values[N_pause_ms];
    o->timeout_ms = values[N_timeout_ms];
    check(o);
}
