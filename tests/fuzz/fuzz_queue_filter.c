/* fuzz_queue_filter.c: filters of ListQueues. One that is accepted says the same when it is written twice; with a term more that holds it
 * says the same, with one that does not hold it fits nothing.
 * Input: P or R (the state of the queue), then the filter. */
#include "broker/queues_int.h"
#include "tests/fuzz/fuzz.h"

static struct queue_filter *parse(struct arena *a, const char *before, const char *text, const char *after)
{
    struct queue_filter *f = NULL;
    struct err e = {0};
    char *whole = arena_printf(a, "%s%s%s", before, text, after);
    if (!whole || queue_filter_parse(a, whole, &f, &e))
        FUZZ_CHECK(!whole || (e.code == ERR_INVALID_ARGUMENT && strncmp(e.msg, "filter: ", 8) == 0), "%s is refused: %s", whole, e.msg);
    return f;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a = arena_new(1 << 20);
    PbQueue q = GOOGLE__CLOUD__TASKS__V2__QUEUE__INIT;
    bool paused = size > 0 && data[0] == 'P';
    char *text = fuzz_text(fuzz_str(data + (size > 0), size - (size > 0)));
    q.name = (char *)"projects/p/locations/l/queues/q-1";
    q.state = paused ? GOOGLE__CLOUD__TASKS__V2__QUEUE__STATE__PAUSED : GOOGLE__CLOUD__TASKS__V2__QUEUE__STATE__RUNNING;
    const struct queue_filter *f = parse(a, "", text, "");
    if (f) {
        const char *state = paused ? "PAUSED" : "RUNNING";
        bool fits = queue_filter_fits(f, &q);
        f = parse(a, text, " ", text);
        FUZZ_CHECK(!f || queue_filter_fits(f, &q) == fits, "%s twice is something else", text);
        f = parse(a, arena_printf(a, "state = %s AND ", state), text, "");
        FUZZ_CHECK(!f || !*text || queue_filter_fits(f, &q) == fits, "a term more that holds changes %s", text);
        f = parse(a, arena_printf(a, "-state:\"%s\" ", state), text, "");
        FUZZ_CHECK(!f || !queue_filter_fits(f, &q), "a term that does not hold leaves %s", text);
    }
    free(text);
    arena_free(a);
    return 0;
}
