/* cron_explain.c: a schedule in words, in a zone, with what the policy of cron.h makes of the next clock change. */
#include "core/base/clock.h"
#include "schedules/cron_int.h"

#include <stdlib.h>

#define CLOCK_MAX 8

static int clock_of(int64_t local_s, char out[CLOCK_MAX])
{
    int64_t in_day = ((local_s % DAY_S) + DAY_S) % DAY_S;
    out[0] = (char)('0' + in_day / 36000);
    out[1] = (char)('0' + in_day / 3600 % 10);
    out[2] = ':';
    out[3] = (char)('0' + in_day / 600 % 6);
    out[4] = (char)('0' + in_day / 60 % 10);
    out[5] = '\0';
    return (int)(in_day % 60);
}

/* Seconds are told where there are some. */
static int add_clock(struct buf *b, int64_t local_s)
{
    char text[CLOCK_MAX];
    int seconds = clock_of(local_s, text);
    return seconds ? buf_addf(b, "%s:%02d", text, seconds) : buf_addz(b, text);
}

static int64_t day_of(int64_t local_s) { return (local_s - ((local_s % DAY_S) + DAY_S) % DAY_S) / DAY_S; }

static int add_date(struct buf *b, int64_t local_s)
{
    int year, month, day;
    int64_t days = day_of(local_s);
    civil_from_days(days, &year, &month, &day);
    return buf_addf(b, "%s %d %s %d", cron_weekdays[((days + 4) % 7 + 7) % 7], day, cron_months[month - 1], year);
}

static int add_offset(struct buf *b, int32_t offset_s)
{
    int minutes = abs(offset_s) / 60;
    return buf_addf(b, "%c%02d:%02d", offset_s < 0 ? '-' : '+', minutes / 60, minutes % 60);
}

/* "On Sunday 29 March 2026 at 02:00 the clocks go forward to 03:00 (from +01:00 to +02:00)" */
static int add_change(struct buf *b, const struct zone_change *c)
{
    int64_t from_s = c->after.start_s + c->before.offset_s, to_s = c->after.start_s + c->after.offset_s;
    int rc;
    if ((rc = buf_addz(b, "On ")) || (rc = add_date(b, from_s)) || (rc = buf_addz(b, " at ")) || (rc = add_clock(b, from_s)) ||
        (rc = buf_addf(b, " the clocks go %s to ", to_s > from_s ? "forward" : "back")) || (rc = add_clock(b, to_s)))
        return rc;
    if (day_of(from_s) != day_of(to_s) && ((rc = buf_addz(b, " on ")) || (rc = add_date(b, to_s))))
        return rc;
    if ((rc = buf_addz(b, " (from ")) || (rc = add_offset(b, c->before.offset_s)) || (rc = buf_addz(b, " to ")) ||
        (rc = add_offset(b, c->after.offset_s)))
        return rc;
    return buf_addz(b, ")");
}

/* What becomes of the times in [from_s, to_s), which do not exist. */
static int add_gap(struct buf *b, const struct cron *c, int64_t from_s, int64_t to_s)
{
    int64_t missed_s, more_s;
    int rc;
    if (!cron_find_local(c, from_s, to_s, &missed_s))
        return buf_addz(b, ", which touches none of its times.");
    if (c->kind == CRON_EVERY_HOUR)
        return buf_addz(b, "; it goes by the clock, so nothing fires for the times that do not exist then.");
    if ((rc = buf_addz(b, "; ")) || (rc = add_clock(b, missed_s)))
        return rc;
    if (!cron_find_local(c, missed_s + 1, to_s, &more_s))
        rc = buf_addz(b, " does not exist then, so it fires at ");
    else
        rc = buf_addz(b, " and its other times in between do not exist then: for all of them it fires once, at ");
    if (rc || (rc = add_clock(b, to_s)))
        return rc;
    return buf_addz(b, ".");
}

/* And of those in [from_s, to_s), which come twice. */
static int add_fold(struct buf *b, const struct cron *c, int64_t from_s, int64_t to_s)
{
    int64_t twice_s, more_s;
    int rc;
    if (!cron_find_local(c, from_s, to_s, &twice_s))
        return buf_addz(b, ", which touches none of its times.");
    bool many = cron_find_local(c, twice_s + 1, to_s, &more_s), once = c->kind == CRON_TIMES_OF_DAY;
    if ((rc = buf_addz(b, "; ")) || (rc = add_clock(b, twice_s)))
        return rc;
    if (many)
        return buf_addf(b, " and its other times up to then come twice, and it fires %s.",
                        once ? "only at the first of each" : "both times");
    return buf_addf(b, " comes twice then, and it fires %s.", once ? "only at the first" : "both times");
}

int cron_explain(const struct cron *c, const struct zone *z, int64_t from_s, struct buf *out)
{
    struct zone_change change;
    int rc;
    if ((rc = cron_describe(c, out)) || (rc = buf_addf(out, ", in %s. ", zone_name(z))))
        return rc;
    if (!zone_next_change(z, from_s, &change) || change.after.start_s > WALL_SECONDS_MAX - 2 * DAY_S)
        return buf_addz(out, "The clocks do not change there.");
    if ((rc = add_change(out, &change)))
        return rc;
    if (c->kind == CRON_INTERVAL)
        return buf_addz(out, ", which changes nothing: what is counted is real time.");
    if (c->kind == CRON_DAILY_RANGE)
        return buf_addz(out, "; the periods stay real time, only the beginning and the end of the range are what the clock shows.");
    int64_t before_s = change.after.start_s + change.before.offset_s, after_s = change.after.start_s + change.after.offset_s;
    return after_s > before_s ? add_gap(out, c, before_s, after_s) : add_fold(out, c, after_s, before_s);
}

int cron_explain_firing(const struct zone *z, const struct cron_firing *f, struct buf *out)
{
    int64_t both[2];
    int rc;
    switch (f->how) {
    case CRON_MOVED:
    case CRON_MERGED:
        if ((rc = buf_addz(out, f->how == CRON_MERGED ? "also for " : "for ")) || (rc = add_clock(out, f->local_s)))
            return rc;
        if (day_of(f->local_s) != day_of(zone_local(z, f->at_s)) && ((rc = buf_addz(out, " on ")) || (rc = add_date(out, f->local_s))))
            return rc;
        return buf_addz(out, ", which does not exist");
    case CRON_ONCE:
    case CRON_TWICE:
        rc = buf_addf(out, "the %s ", zone_instants(z, f->local_s, both) == 2 && f->at_s == both[1] ? "second" : "first");
        if (rc || (rc = add_clock(out, f->local_s)))
            return rc;
        return buf_addz(out, f->how == CRON_ONCE ? " of two, and the only one" : " of two");
    case CRON_PLAIN:
        break;
    }
    return 0;
}
