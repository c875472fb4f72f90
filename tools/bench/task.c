/* task.c: writes the bodies that create tasks: a POST of --data bytes with a token, as a push is. */
#include "tools/bench/task.h"
#include "tools/bench/util.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define QUEUES "projects/local-project/locations/europe-west1/queues/"
#define TASK_TEXT_MAX 320 /* all of a task but its data */

const char *task_path(const struct request_options *o)
{
    size_t room = strlen(o->queue) + sizeof QUEUES + 64;
    char *out = xzalloc(room);
    snprintf(out, room, "%s" QUEUES "%s-%%d/tasks%s", o->batch > 1 ? "/runnel/v1/" : "/v2/", o->queue, o->batch > 1 ? ":batchCreate" : "");
    return out;
}

static size_t write_time(char *to, size_t room, int64_t ns)
{
    time_t s = (time_t)(ns / NS_PER_S);
    struct tm tm;
    gmtime_r(&s, &tm);
    size_t n = strftime(to, room, "\"scheduleTime\":\"%Y-%m-%dT%H:%M:%S", &tm);
    return n + (size_t)snprintf(to + n, room - n, ".%09lldZ\",", (long long)(ns % NS_PER_S));
}

static size_t write_task(char *to, const struct request_options *o, const char *data, uint64_t number)
{
    size_t room = TASK_TEXT_MAX + strlen(data), n = (size_t)snprintf(to, room, "{");
    if (o->due_ms)
        n += write_time(to + n, room - n, o->due_ms * 1000000 + (int64_t)number * o->step_us * 1000);
    return n +
           (size_t)snprintf(to + n, room - n,
                            "\"httpRequest\":{\"url\":\"http://127.0.0.1:%u/task\",\"body\":\"%s\",\"oidcToken\":{\"serviceAccountEmail\":"
                            "\"pusher@local-project.iam.gserviceaccount.com\"}}}",
                            o->target, data);
}

char *task_body(const struct request_options *o, const char *data, uint64_t number)
{
    const char *begin = o->batch > 1 ? "{\"tasks\":[" : "{\"task\":", *end = o->batch > 1 ? "]}" : "}";
    char *out = xzalloc(strlen(begin) + o->batch * (TASK_TEXT_MAX + strlen(data) + 1) + sizeof "]}"), *at = out;
    memcpy(at, begin, strlen(begin));
    at += strlen(begin);
    for (size_t i = 0; i < o->batch; i++) {
        if (i)
            *at++ = ',';
        at += write_task(at, o, data, number * o->batch + i);
    }
    memcpy(at, end, strlen(end) + 1);
    return out;
}
