/** cron.h: a schedule as text, and when it fires next in a time zone.
 *  Shape:   cron_parse -> cron_next from any instant, again and again; nothing is kept between calls.
 *           (Steps such as * / 15 are written without spaces; here that would end the comment.)
 *  Grammar: MINUTE HOUR DAY-OF-MONTH MONTH DAY-OF-WEEK, or six fields with SECOND first. In a field: * (all), 5, 1-5, lists 1,3-5, steps
 *           * / 15, 10-40/5, 3/10 (from 3 on); JAN-DEC and SUN-SAT in any case; day of week 0-7, where 0 and 7 are Sunday; ? is * in the two
 *           day fields. Ranges may run over the end (22-2, NOV-FEB, FRI-MON), but not of days of the month, whose end is not always the
 *           same. A step of more than the field holds is refused: it would not be what it says.
 *           Day of month: L the last, L-3 three days before it, LW the last of Monday to Friday, 15W the one of Monday to Friday nearest to
 *           the 15th within the month (none where the month has no such day). Day of week: FRIL or 5L the last Friday, MON#2 the second
 *           Monday. @yearly @annually @monthly @weekly @daily @midnight @hourly.
 *           App Engine's English: "every 5 minutes", "every 2 hours synchronized", "every 5 minutes from 10:00 to 14:00", "every day 00:00",
 *           "every mon,wed 09:00", "1st monday of sep,oct 17:00", "1,15 of month 00:00", "2nd day of quarter 06:00".
 *  Days:    if day of month or day of week begins with * or ?, both must fit; if neither does, either is enough (as in vixie-cron). So
 *           "0 0 13 * FRI" is every 13th and every Friday, and "0 0 * / 2 * MON" is those Mondays that are odd days.
 *  Policy:  THE CLOCK CHANGES. A gap is what the clock jumps over, a fold what it shows twice; examples in Europe/Berlin, where on the last
 *           Sunday of March 02:00-03:00 is a gap and on that of October 02:00-03:00 a fold. By the fields there are three kinds:
 *           - The hour field holds all 24 hours ("30 * * * *", "* / 5 * * * *"): EVERY HOUR. It goes by the clock in each hour that there is: in
 *             the gap nothing fires and nothing is made up for, in the fold it fires both times. One real hour stays one real hour, but where
 *             the clock moves by half an hour (Australia/Lord_Howe).
 *           - Some hours, and the minute field begins with * ("* / 15 1-3 * * *"): WITHIN HOURS. It fires both times in the fold; of the times
 *             in the gap it fires once, at the first instant after it (03:00, a quarter of an hour after 01:45).
 *           - Anything else ("30 2 * * *", "0 * / 2 * * *"): TIMES OF DAY. Each local time fires when the clock first reaches or passes it: in
 *             the gap once, at the first instant after it (03:00); in the fold once, at its first occurrence.
 *           Several missing times, and one that is due at that instant anyway, are one firing. A whole missing day (Pacific/Apia, 30 December
 *           2011) is a gap like any other.
 *           English intervals count real time, whatever the clock does. "every N minutes" counts from local midnight of 1 January 2000, so it
 *           is the same for whoever asks and survives restarts. "from A to B" counts anew each day from the local time A until B, B
 *           included; A and B are times of day as above, and B before A is on the next day. "synchronized" is from 00:00 to 23:59, for
 *           periods that divide 24 hours.
 *  Units:   instants and local times as in zone.h, in seconds. Firings lie between the years 1 and 9999.
 *  Limits:  CRON_TEXT_MAX bytes. A schedule that never fires is refused. A search looks at months and days, not at minutes: at most at the
 *           400 years after which the calendar repeats.
 *  Errors:  INVALID_ARGUMENT names the field, its number, the character, the text and what is allowed; RESOURCE_EXHAUSTED: out of memory,
 *           or a full buffer.
 *  Owner:   cron_free frees what cron_parse made; it keeps nothing of the text.
 *  Thread:  any; a schedule never changes.
 *  Source:  crontab(5) of vixie-cron; App Engine's cron.yaml reference and its groc grammar; wire.md section 3. */
#ifndef SCHEDULES_CRON_H
#define SCHEDULES_CRON_H

#include "core/base/buf.h"
#include "schedules/zone.h"

#define CRON_TEXT_MAX 500

struct cron;
struct cron *cron_parse(const char *text, struct err *e);
void cron_free(struct cron *c);

enum cron_how {
    CRON_PLAIN,
    CRON_MOVED,  /* for a local time that does not exist, at the first instant after the gap */
    CRON_MERGED, /* for one that does not exist and for its own */
    CRON_ONCE,   /* its local time comes twice: this is the first, and the only one that fires */
    CRON_TWICE,  /* its local time comes twice, and it fires each time */
};
struct cron_firing {
    int64_t at_s;
    int64_t local_s; /* what the schedule says: of MOVED and MERGED the first that does not exist, else the clock's at at_s */
    enum cron_how how;
};
/** The first firing after an instant, never at it; false when there is none before the year 9999 ends. */
bool cron_next(const struct cron *c, const struct zone *z, int64_t after_s, struct cron_firing *out);

/** The schedule in words, without a full stop: "At 09:00 on Monday through Friday". */
MUST_USE int cron_describe(const struct cron *c, struct buf *out);
/** The same in a zone, and what will happen around the next clock change after an instant; whole sentences. */
MUST_USE int cron_explain(const struct cron *c, const struct zone *z, int64_t from_s, struct buf *out);
/** What is to be said about a firing beside its time: "02:30 does not exist on this day"; nothing for a plain one. */
MUST_USE int cron_explain_firing(const struct zone *z, const struct cron_firing *f, struct buf *out);

#endif
