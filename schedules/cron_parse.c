/* cron_parse.c: schedules of five or six fields, and the words that stand for some of them. */
#include "core/base/clock.h"
#include "schedules/cron_int.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

const char *const cron_months[12] = {"January", "February", "March",     "April",   "May",      "June",
                                     "July",    "August",   "September", "October", "November", "December"};
const char *const cron_weekdays[7] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};

enum { SECOND, MINUTE, HOUR, DAY, MONTH, WEEKDAY, FIELDS };
static const struct field {
    const char *name;
    int min, max;
    const char *const *names;
    const char *allowed;
} fields[FIELDS] = {
    [SECOND] = {"second", 0, 59, NULL, "0-59, *, lists, ranges and steps such as */10"},
    [MINUTE] = {"minute", 0, 59, NULL, "0-59, *, lists, ranges and steps such as */5"},
    [HOUR] = {"hour", 0, 23, NULL, "0-23, *, lists, ranges and steps such as */2"},
    [DAY] = {"day of month", 1, 31, NULL, "1-31, *, ?, lists, ranges, steps, L, L-3, 15W and LW"},
    [MONTH] = {"month", 1, 12, cron_months, "1-12, JAN-DEC, *, lists, ranges and steps"},
    [WEEKDAY] = {"day of week", 0, 7, cron_weekdays, "0-7 (0 and 7 are Sunday), SUN-SAT, *, ?, lists, ranges, steps, 5L or FRIL and MON#2"},
};
static const struct {
    const char *word, *fields;
} words[] = {
    {"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"}, {"@monthly", "0 0 1 * *"}, {"@weekly", "0 0 * * 0"},
    {"@daily", "0 0 * * *"},  {"@midnight", "0 0 * * *"}, {"@hourly", "0 * * * *"},
};

/* A field while it is read: what is in it becomes bits of `set`, or goes to the schedule at once. */
struct reader {
    struct cron_text *t;
    struct cron *c;
    const struct field *f;
    int number; /* of the field, for people: from 1 */
    const char *end;
    uint64_t set;
};

int cron_bad(const struct cron_text *t, const char *field, const char *at, size_t n, const char *fmt, ...)
{
    char why[224];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    return err_set(t->e, ERR_INVALID_ARGUMENT, "schedule: %s%scharacter %zu: \"%.*s\" %s", field ? field : "", field ? ", " : "",
                   (size_t)(at - t->all) + 1, (int)(n < 40 ? n : 40), at, why);
}

/* Says what is wrong with the text from `at` to the end of its item. */
static int bad_item(const struct reader *r, const char *at, const char *why)
{
    char field[40];
    size_t n = (size_t)(r->end - at);
    const char *comma = memchr(at, ',', n);
    snprintf(field, sizeof field, "field %d (%s)", r->number, r->f->name);
    return cron_bad(r->t, field, at, comma ? (size_t)(comma - at) : n, "%s; allowed: %s", why, r->f->allowed);
}

int cron_name(const char *p, const char *const *names, int count)
{
    for (int i = 0; names && i < count; i++)
        if (strncasecmp(p, names[i], 3) == 0)
            return i;
    return -1;
}

/* ---- one item: *, ?, a value, a range, a step, and what only days have ---- */

static bool is_day_field(const struct reader *r) { return r->f == &fields[DAY] || r->f == &fields[WEEKDAY]; }
static bool next_is(const struct reader *r, char c) { return r->t->p < r->end && toupper((unsigned char)*r->t->p) == c; }
static bool take(struct reader *r, char c)
{
    if (!next_is(r, c))
        return false;
    r->t->p++;
    return true;
}
static bool at_item_end(const struct reader *r) { return r->t->p == r->end || *r->t->p == ','; }
static int field_size(const struct field *f) { return f == &fields[WEEKDAY] ? 7 : f->max - f->min + 1; }

/* Digits, at most three: more is out of range for every field. */
static bool take_digits(struct reader *r, int *out)
{
    const char *from = r->t->p;
    for (*out = 0; r->t->p < r->end && isdigit((unsigned char)*r->t->p) && r->t->p - from < 4; r->t->p++)
        *out = *out * 10 + (*r->t->p - '0');
    return r->t->p > from;
}

static int take_value(struct reader *r, int *out)
{
    const char *from = r->t->p;
    if (take_digits(r, out)) {
        if (*out < r->f->min || *out > r->f->max)
            return bad_item(r, from, *out < r->f->min ? "is too small" : "is too large");
        return 0;
    }
    size_t letters = 0;
    while (from + letters < r->end && isalpha((unsigned char)from[letters]))
        letters++;
    if (letters == 4 && r->f == &fields[WEEKDAY] && toupper((unsigned char)from[3]) == 'L')
        letters = 3; /* FRIL */
    int count = r->f == &fields[WEEKDAY] ? 7 : 12, i = letters == 3 ? cron_name(from, r->f->names, count) : -1;
    if (i < 0)
        return bad_item(r, from, at_item_end(r) ? "lacks a value" : "is not understood");
    r->t->p += 3;
    *out = i + r->f->min;
    return 0;
}

static int take_step(struct reader *r, int *step)
{
    char why[80];
    const char *from = r->t->p;
    *step = 1;
    if (!take(r, '/'))
        return 0;
    if (!take_digits(r, step))
        return bad_item(r, from, "lacks the number of its step");
    if (*step == 0 || *step > field_size(r->f)) {
        snprintf(why, sizeof why, "is no step here: steps of this field are 1-%d", field_size(r->f));
        return bad_item(r, from, why);
    }
    return 0;
}

/* `length` values after the first, over the end of the field if need be. */
static void add_range(struct reader *r, int first, int length, int step)
{
    int size = field_size(r->f);
    for (int i = 0; i <= length; i += step)
        r->set |= UINT64_C(1) << ((first - r->f->min + i) % size + r->f->min);
}

static int take_range(struct reader *r, const char *from, int first)
{
    int last = first, step, rc, size = field_size(r->f);
    bool range = take(r, '-');
    if (range && (rc = take_value(r, &last)))
        return rc;
    bool stepped = next_is(r, '/');
    if ((rc = take_step(r, &step)))
        return rc;
    if (!at_item_end(r))
        return bad_item(r, from, "is not understood");
    if (!range && stepped)
        last = r->f->min + size - 1; /* 3/10: from 3 on */
    if (last < first && r->f == &fields[DAY])
        return bad_item(r, from, "runs over the end of the month, which is not always the same; write for example 28-31,1-3");
    int length = last - first;
    add_range(r, first, length < 0 ? length + size : length, step);
    return 0;
}

static int take_last_day(struct reader *r, const char *from)
{
    int back = 0;
    if (take(r, 'W')) {
        r->c->last_workday = true;
    } else {
        if (take(r, '-') && (!take_digits(r, &back) || back > 30))
            return bad_item(r, from, "is not understood: L-1 to L-30 are days before the last");
        r->c->from_last |= 1u << back;
    }
    return at_item_end(r) ? 0 : bad_item(r, from, "is not understood");
}

/* What may follow a value in a day field; *taken says whether it did. */
static int take_day_suffix(struct reader *r, const char *from, int value, bool *taken)
{
    *taken = true;
    if (r->f == &fields[DAY] && take(r, 'W')) {
        r->c->nearest |= 1u << value;
    } else if (r->f == &fields[WEEKDAY] && take(r, 'L')) {
        r->c->last_weekdays |= (uint8_t)(1u << value % 7);
    } else if (r->f == &fields[WEEKDAY] && take(r, '#')) {
        int n;
        if (!take_digits(r, &n) || n < 1 || n > 5)
            return bad_item(r, from, "is not understood: behind # stands 1-5, the first to the fifth of the month");
        r->c->nth_weekdays[n - 1] |= (uint8_t)(1u << value % 7);
    } else {
        *taken = false;
        return 0;
    }
    return at_item_end(r) ? 0 : bad_item(r, from, "is not understood");
}

static int take_item(struct reader *r)
{
    const char *from = r->t->p;
    int value, step, rc;
    bool taken = false;
    if (take(r, '*') || (is_day_field(r) && take(r, '?'))) {
        if ((rc = take_step(r, &step)))
            return rc;
        add_range(r, r->f->min, field_size(r->f) - 1, step);
        return at_item_end(r) ? 0 : bad_item(r, from, "is not understood");
    }
    if (r->f == &fields[DAY] && take(r, 'L'))
        return take_last_day(r, from);
    if (r->f == &fields[WEEKDAY] && next_is(r, 'L'))
        return bad_item(r, from, "does not say which day: the last Friday of the month is FRIL or 5L");
    if ((rc = take_value(r, &value)) || (rc = take_day_suffix(r, from, value, &taken)) || taken)
        return rc;
    return take_range(r, from, value);
}

/* ---- the fields ---- */

static void put_set(struct reader *r, bool star)
{
    switch (r->f - fields) {
    case SECOND:
        r->c->seconds = r->set;
        break;
    case MINUTE:
        r->c->minutes = r->set;
        r->c->kind = star ? CRON_WITHIN_HOURS : CRON_TIMES_OF_DAY;
        break;
    case HOUR:
        r->c->hours = (uint32_t)r->set;
        if (r->set == HOURS_ALL)
            r->c->kind = CRON_EVERY_HOUR;
        break;
    case DAY:
        r->c->days = (uint32_t)r->set;
        r->c->days_star = star;
        break;
    case MONTH:
        r->c->months = (uint32_t)r->set;
        break;
    default:
        r->c->weekdays = (uint8_t)r->set;
        r->c->weekdays_star = star;
        break;
    }
}

static size_t skip_space(const char **p)
{
    size_t n = strspn(*p, " \t");
    *p += n;
    return n;
}

static int take_field(struct cron_text *t, struct cron *c, int number, const struct field *f)
{
    (void)skip_space(&t->p);
    struct reader r = {.t = t, .c = c, .f = f, .number = number, .end = t->p + strcspn(t->p, " \t")};
    bool star = *t->p == '*' || *t->p == '?';
    int rc;
    do {
        if ((rc = take_item(&r)))
            return rc;
    } while (take(&r, ','));
    put_set(&r, star);
    return 0;
}

static int count_fields(const char *p)
{
    int n = 0;
    for (skip_space(&p); *p; skip_space(&p), n++)
        p += strcspn(p, " \t");
    return n;
}

static int parse_fields(struct cron_text *t, struct cron *c)
{
    int n = count_fields(t->p), rc;
    if (n != 5 && n != 6)
        return err_set(
            t->e, ERR_INVALID_ARGUMENT,
            "schedule: \"%.60s\" has %d field%s; wanted are five, MINUTE HOUR DAY-OF-MONTH MONTH DAY-OF-WEEK, or six with SECOND "
            "first; or for example \"every 5 minutes\", \"every monday 09:00\", \"@daily\"%s",
            t->p, n, n == 1 ? "" : "s", n == 7 ? "; there is no field for years" : "");
    c->seconds = 1;
    for (int i = 0; i < n; i++)
        if ((rc = take_field(t, c, i + 1, &fields[i + (n == 5)])))
            return rc;
    return 0;
}

static int parse_word(struct cron_text *t, struct cron *c)
{
    size_t n = strcspn(t->p, " \t");
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (strlen(words[i].word) != n || strncasecmp(words[i].word, t->p, n) != 0 || t->p[n + strspn(t->p + n, " \t")])
            continue;
        struct cron_text inner = {words[i].fields, words[i].fields, t->e};
        return parse_fields(&inner, c);
    }
    return cron_bad(t, NULL, t->p, strlen(t->p),
                    "is not known: there are @yearly, @annually, @monthly, @weekly, @daily, @midnight and @hourly; intervals are written "
                    "\"every 5 minutes\"");
}

/* ---- the whole ---- */

/* Every 400 years the calendar is the same again, weekdays and all. */
static bool fires_ever(const struct cron *c)
{
    if (c->kind == CRON_INTERVAL || c->kind == CRON_DAILY_RANGE)
        return true;
    for (int year = 2000; year < 2400; year++)
        for (int month = 1; month <= 12; month++)
            if (cron_days(c, year, month))
                return true;
    return false;
}

static int parse(struct cron_text *t, struct cron *c)
{
    if (strlen(t->all) > CRON_TEXT_MAX)
        return err_set(t->e, ERR_INVALID_ARGUMENT, "schedule: it is longer than %d bytes", CRON_TEXT_MAX);
    (void)skip_space(&t->p);
    int rc;
    if (!*t->p)
        rc = err_set(t->e, ERR_INVALID_ARGUMENT, "schedule: it is empty; write for example \"0 9 * * MON-FRI\" or \"every 5 minutes\"");
    else if (*t->p == '@')
        rc = parse_word(t, c);
    else if (strncasecmp(t->p, "every", 5) == 0 || strchr(t->p, ':'))
        rc = cron_parse_english(t, c);
    else
        rc = parse_fields(t, c);
    if (!rc && !fires_ever(c))
        rc = err_set(t->e, ERR_INVALID_ARGUMENT, "schedule: \"%.60s\" would never fire: none of its months has such a day", t->all);
    return rc;
}

struct cron *cron_parse(const char *text, struct err *e)
{
    struct cron_text t = {text, text, e};
    struct cron *c = calloc(1, sizeof *c);
    if (!c) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "schedule: out of memory");
        return NULL;
    }
    if (parse(&t, c)) {
        cron_free(c);
        return NULL;
    }
    return c;
}
