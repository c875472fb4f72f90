/* task_policy.c: backoff, ends of retries, status codes, the token bucket and how a queue is slowed. */
#include "broker/task_policy.h"

#define ERRORS_ENOUGH 20   /* answers, before a share of errors says anything */
#define ANSWERS_KEPT 100   /* then both counts are halved */
#define TOKEN_SLACK 1e-6   /* what the arithmetic of a rate may lack */
#define SLOWER_NS NS_PER_S /* between two halvings */
#define WARM_MAX 1000000

static int64_t times(int64_t ns, int64_t factor, int64_t max_ns)
{
    int64_t r;
    return __builtin_mul_overflow(ns, factor, &r) || r > max_ns ? max_ns : r;
}

int64_t task_backoff_ns(int64_t min_ns, int64_t max_ns, uint32_t max_doublings, uint32_t failed)
{
    if (failed == 0)
        return 0;
    uint32_t step = failed - 1, doublings = step < max_doublings ? step : max_doublings;
    if (doublings > 62)
        return min_ns > 0 ? max_ns : 0;
    int64_t doubled = times(min_ns, INT64_C(1) << doublings, max_ns);
    return times(doubled, (int64_t)(step - doublings) + 1, max_ns);
}

bool task_exhausted(int32_t max_attempts, int64_t max_retry_ns, uint32_t attempts, int64_t since_first_ns)
{
    bool by_count = max_attempts > 0, by_time = max_retry_ns > 0;
    return (by_count || by_time) && (!by_count || attempts >= (uint32_t)max_attempts) && (!by_time || since_first_ns >= max_retry_ns);
}

bool task_counts_as_execution(int status) { return status > 0 && (status < 500 || status > 599); }

int task_status_code(int http_status) { return (int)err_from_http(http_status); }

const char *task_status_name(int code) { return err_name((enum err_code)code); }

/* ---- the token bucket ---- */

void task_bucket_init(struct task_bucket *b, uint32_t burst, int64_t now_ns) { *b = (struct task_bucket){burst, now_ns}; }

bool task_bucket_take(struct task_bucket *b, double rate_per_s, uint32_t burst, int64_t now_ns, int64_t *next_ns)
{
    double most = burst > 0 ? burst : 1;
    if (now_ns > b->at_ns) {
        b->tokens += (double)(now_ns - b->at_ns) / 1e9 * rate_per_s;
        b->at_ns = now_ns;
    }
    if (b->tokens > most)
        b->tokens = most;
    if (b->tokens >= 1 - TOKEN_SLACK) {
        b->tokens -= 1;
        return true;
    }
    double wait_ns = rate_per_s > 0 ? (1 - b->tokens) / rate_per_s * 1e9 : 1e18;
    *next_ns = wait_ns < 1e17 ? now_ns + (int64_t)wait_ns + 1 : TIMER_NEVER;
    return false;
}

/* ---- slowed by answers, warming up ---- */

void task_throttle_cool(struct task_throttle *t, int64_t now_ns)
{
    t->warm = TASK_WARM_START;
    t->warm_ns = t->active_ns = now_ns;
}

void task_throttle_init(struct task_throttle *t, int64_t now_ns)
{
    *t = (struct task_throttle){.factor = 1, .changed_ns = now_ns};
    task_throttle_cool(t, now_ns);
}

static bool many_errors(const struct task_throttle *t) { return t->answers >= ERRORS_ENOUGH && t->failures * 2 > t->answers; }

static void slow(struct task_throttle *t, int64_t now_ns)
{
    if (t->factor < 1 && now_ns - t->changed_ns < SLOWER_NS)
        return;
    t->factor = t->factor / 2 > TASK_SLOWEST ? t->factor / 2 : TASK_SLOWEST;
    t->changed_ns = now_ns;
}

void task_throttle_answer(struct task_throttle *t, int status, int64_t retry_after_ns, int64_t now_ns)
{
    bool success = status >= 200 && status <= 299, overload = status == 429 || status == 503;
    if (t->answers >= ANSWERS_KEPT) {
        t->answers /= 2;
        t->failures /= 2;
    }
    t->answers++;
    t->failures += status == 0 || status >= 500 || status == 429;
    t->active_ns = now_ns;
    if (success && t->warm < WARM_MAX)
        t->warm++;
    if (overload || (!success && many_errors(t)))
        slow(t, now_ns);
    if (!overload || retry_after_ns <= 0)
        return;
    int64_t until = now_ns + (retry_after_ns < TASK_RETRY_AFTER_MAX_NS ? retry_after_ns : TASK_RETRY_AFTER_MAX_NS);
    if (until > t->paused_until_ns)
        t->paused_until_ns = until;
}

/* What time alone does: a slowed queue recovers, a resting one cools, a working one warms. */
static void pass_time(struct task_throttle *t, int64_t now_ns)
{
    for (; t->factor < 1 && now_ns - t->changed_ns >= TASK_CALM_NS; t->changed_ns += TASK_CALM_NS)
        t->factor = t->factor * 2 < 1 ? t->factor * 2 : 1;
    if (now_ns - t->active_ns > TASK_IDLE_NS)
        task_throttle_cool(t, now_ns);
    for (; t->warm < WARM_MAX && now_ns - t->warm_ns >= TASK_WARM_STEP_NS; t->warm_ns += TASK_WARM_STEP_NS)
        t->warm *= 2;
    t->active_ns = now_ns;
}

bool task_throttle_allows(struct task_throttle *t, int64_t now_ns, double *factor, uint32_t *warm_max, int64_t *until_ns)
{
    pass_time(t, now_ns);
    *factor = t->factor;
    *warm_max = t->warm;
    *until_ns = t->paused_until_ns;
    return now_ns >= t->paused_until_ns;
}
