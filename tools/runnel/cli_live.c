/* cli_live.c: the line that tells how far the tasks are, with their rate and the time that is left. */
#include "tools/runnel/cli_live.h"

#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define PLAIN_FIRST_NS NS_PER_S
#define PLAIN_LONGEST_NS (30 * NS_PER_S)
#define COLUMNS_DEFAULT 80

static int64_t done_of(const struct live_counts *n) { return n->succeeded + n->failed + n->cancelled; }

/* "3h 5m", "1m 10s", "4s" */
static void add_time(double s, char *out, size_t size)
{
    const long long whole = (long long)s;
    if (whole >= 3600)
        snprintf(out, size, "%lldh %lldm", whole / 3600, whole % 3600 / 60);
    else if (whole >= 60)
        snprintf(out, size, "%lldm %llds", whole / 60, whole % 60);
    else
        snprintf(out, size, "%llds", whole);
}

char *live_text(const struct live_counts *n, double rate, char out[LIVE_TEXT_MAX])
{
    const int64_t done = done_of(n);
    char left[32] = "", cancelled[32] = "", speed[64] = "";
    if (n->cancelled)
        snprintf(cancelled, sizeof cancelled, ", %lld cancelled", (long long)n->cancelled);
    if (rate > 0 && n->total > done)
        add_time((double)(n->total - done) / rate + 0.5, left, sizeof left);
    if (*left)
        snprintf(speed, sizeof speed, "; %.*f/s, %s left", rate < 10 ? 1 : 0, rate, left);
    snprintf(out, LIVE_TEXT_MAX, "%lld running, %lld succeeded, %lld failed%s, %lld retried of %lld%s", (long long)n->running,
             (long long)n->succeeded, (long long)n->failed, cancelled, (long long)n->retried, (long long)n->total, speed);
    return out;
}

void live_init(struct live *l, const struct cli *c, const char *what, int64_t now_ns)
{
    *l = (struct live){.what = what, .plain_due_ns = now_ns + PLAIN_FIRST_NS, .plain_every_ns = PLAIN_FIRST_NS};
    l->quiet = c->verbosity < CLI_INFO;
    l->terminal = isatty(STDERR_FILENO) && c->verbosity < CLI_DEBUG;
}

/* Tasks a second over the samples; they are a second apart, so a burst does not decide. */
static double rate_of(struct live *l, int64_t done, int64_t now_ns)
{
    const unsigned newest = (l->n_samples + LIVE_SAMPLES - 1) % LIVE_SAMPLES;
    if (l->n_samples == 0 || now_ns - l->samples[newest].at_ns >= NS_PER_S) {
        l->samples[l->n_samples % LIVE_SAMPLES].at_ns = now_ns;
        l->samples[l->n_samples % LIVE_SAMPLES].done = done;
        l->n_samples++;
    }
    const unsigned oldest = l->n_samples > LIVE_SAMPLES ? l->n_samples % LIVE_SAMPLES : 0;
    const int64_t ns = now_ns - l->samples[oldest].at_ns;
    return ns > NS_PER_S / 2 ? (double)(done - l->samples[oldest].done) * (double)NS_PER_S / (double)ns : -1;
}

static int columns(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : COLUMNS_DEFAULT;
}

void live_show(struct live *l, const char *state, const struct live_counts *n, int64_t now_ns)
{
    char text[LIVE_TEXT_MAX], line[LIVE_TEXT_MAX + 160];
    const double rate = rate_of(l, done_of(n), now_ns);
    if (l->quiet)
        return;
    live_text(n, rate, text);
    if (l->terminal) { /* short, for a line that is broken cannot be rewritten; whose counts they are stands above it */
        const bool running = strcmp(state, "running") == 0;
        snprintf(line, sizeof line, "%.60s%s%s", running ? "" : state, running ? "" : ": ", text);
        fprintf(stderr, "\r\033[K%.*s", columns() - 1, line);
        l->shown = true;
        return;
    }
    snprintf(line, sizeof line, "%.80s %.60s: %s", l->what, state, text);
    const bool moved = strcmp(l->state, state) != 0, changed = memcmp(&l->last, n, sizeof *n) != 0;
    if (!moved && (!changed || now_ns < l->plain_due_ns))
        return;
    fprintf(stderr, "%s\n", line);
    snprintf(l->state, sizeof l->state, "%s", state);
    l->last = *n;
    l->plain_every_ns = moved ? PLAIN_FIRST_NS : l->plain_every_ns * 3 / 2;
    if (l->plain_every_ns > PLAIN_LONGEST_NS)
        l->plain_every_ns = PLAIN_LONGEST_NS;
    l->plain_due_ns = now_ns + l->plain_every_ns;
}

void live_clear(struct live *l)
{
    if (l->shown)
        fputs("\r\033[K", stderr);
    l->shown = false;
}

void live_end(struct live *l)
{
    if (l->shown)
        fputc('\n', stderr);
    l->shown = false;
}
