/** tasks_fixture.h: names and requests that the tests of the Tasks API share.
 *  Thread: one. */
#ifndef TESTS_UNIT_TASKS_FIXTURE_H
#define TESTS_UNIT_TASKS_FIXTURE_H

#include "broker/queues.h"
#include "tests/support/support_broker.h"
#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>

#define LOC "projects/test-project/locations/europe-west1"
#define QUEUE LOC "/queues/q"
#define TASKS QUEUE "/tasks/"
#define DAY_NS (24 * 3600 * NS_PER_S)
#define HTTP "\"httpRequest\":{\"url\":\"http://127.0.0.1:9/hook\"}"
#define QUEUE_MISSING "Queue does not exist. If you just created the queue, wait at least a minute for the queue to initialize."

static inline void make_queue(struct tb *tb, const char *more)
{
    tb_call(tb, ERR_OK, "CloudTasks/CreateQueue", "{\"parent\":\"" LOC "\",\"queue\":{\"name\":\"" QUEUE "\"%s}}", more);
}

static inline void setup(struct tb *tb, const char *more)
{
    tb_start(tb);
    make_queue(tb, more);
}

/* A task that waits for an hour. */
static inline void make_task(struct tb *tb, const char *id)
{
    tb_call(tb, ERR_OK, "CloudTasks/CreateTask",
            "{\"parent\":\"" QUEUE "\",\"task\":{\"name\":\"" TASKS "%s\",\"scheduleTime\":\"2026-01-01T01:00:00Z\"," HTTP "}}", id);
}

static inline void says(const char *got, const char *want)
{
    if (!strstr(got, want))
        fail_msg("\"%s\" does not say \"%s\"", got, want);
}

#define CREATE_QUEUE "CloudTasks/CreateQueue"
#define CREATE_TASK "CloudTasks/CreateTask"
#define NEW_QUEUE(more) "{\"parent\":\"" LOC "\",\"queue\":{\"name\":\"" LOC "/queues/new\"," more "}}"
#define NEW_TASK(task) "{\"parent\":\"" QUEUE "\",\"task\":{" task "}}"
#define NEW_HTTP(http) NEW_TASK("\"httpRequest\":{\"url\":\"http://127.0.0.1:9/\"," http "}")

/* The names of all pages, two items each, as "/a/b/c". */
static inline void list_all(struct tb *tb, const char *method, const char *parent, char *seen, size_t room)
{
    char *token = strdup("");
    size_t n = 0;
    assert_non_null(token);
    while (token) {
        const char *r = tb_call(tb, ERR_OK, method, "{\"parent\":\"%s\",\"pageSize\":2,\"pageToken\":\"%s\"}", parent, token);
        for (size_t i = 0; tb_json(r, "name", i); i++)
            n += (size_t)snprintf(seen + n, room - n, "%s", strrchr(tb_json(r, "name", i), '/'));
        assert_true(tb_count(r, "\"name\"") <= 2);
        free(token);
        token = tb_json(r, "nextPageToken", 0) ? strdup(tb_json(r, "nextPageToken", 0)) : NULL;
    }
}

#endif
