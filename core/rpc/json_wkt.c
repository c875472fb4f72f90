/** json_wkt.c: the text forms of Timestamp, Duration and FieldMask, and field names in lowerCamelCase.
 *  Source: the comments of google/protobuf/{timestamp,duration,field_mask}.proto say the forms; RFC 3339. */
#include "core/rpc/json_int.h"

#include "google/protobuf/duration.pb-c.h"
#include "google/protobuf/field_mask.pb-c.h"
#include "google/protobuf/timestamp.pb-c.h"

#define TIMESTAMP_SECONDS_MIN INT64_C(-62135596800) /* 0001-01-01T00:00:00Z */
#define TIMESTAMP_SECONDS_MAX INT64_C(253402300799) /* 9999-12-31T23:59:59Z */
#define DURATION_SECONDS_MAX INT64_C(315576000000)
#define FIELD_MASK_PATHS_MAX 1000

enum wkt json_wkt(const ProtobufCMessageDescriptor *d)
{
    static const char *const names[] = {
        [WKT_TIMESTAMP] = "Timestamp", [WKT_DURATION] = "Duration", [WKT_FIELD_MASK] = "FieldMask",
        [WKT_EMPTY] = "Empty",         [WKT_ANY] = "Any",
    };
    if (strcmp(d->package_name, "google.protobuf"))
        return WKT_NONE;
    for (enum wkt k = WKT_TIMESTAMP; k <= WKT_ANY; k++)
        if (!strcmp(d->short_name, names[k]))
            return k;
    return WKT_NONE;
}

char *json_name(const char *name, char out[JSON_NAME_MAX])
{
    size_t n = 0;
    bool upper = false;
    for (; *name && n + 1 < JSON_NAME_MAX; name++) {
        if (*name == '_') {
            upper = true;
            continue;
        }
        out[n++] = upper && *name >= 'a' && *name <= 'z' ? (char)(*name - 'a' + 'A') : *name;
        upper = false;
    }
    out[n] = '\0';
    return out;
}

/* --- time ----------------------------------------------------------------------------------------------------- */

/* Days since 1970-01-01 of a date of the proleptic Gregorian calendar. Years are counted from March, so that the leap day
 * is the last of its year; 400 years are 146097 days, and day 0 of year 0 (0000-03-01) is 719468 days before 1970. */
static int64_t days_of(int year, int month, int day)
{
    int64_t y = month > 2 ? year : year - 1;
    int64_t month_from_march = (month + 9) % 12;
    return 365 * y + y / 4 - y / 100 + y / 400 + (153 * month_from_march + 2) / 5 + day - 1 - 719468;
}

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : days[month - 1];
}

static void date_of(int64_t days, int *year, int *month, int *day)
{
    int y = (int)(days / 366) + 1970; /* at most a few years early for later days, late for earlier ones */
    while (days_of(y + 1, 1, 1) <= days)
        y++;
    while (days_of(y, 1, 1) > days)
        y--;
    int m = 1;
    while (m < 12 && days_of(y, m + 1, 1) <= days)
        m++;
    *year = y;
    *month = m;
    *day = (int)(days - days_of(y, m, 1)) + 1;
}

/* Exactly `n` digits at *p. */
static bool take_digits(struct str *s, size_t n, int *out)
{
    *out = 0;
    if (s->n < n)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (s->p[i] < '0' || s->p[i] > '9')
            return false;
        *out = *out * 10 + (s->p[i] - '0');
    }
    s->p += n;
    s->n -= n;
    return true;
}

static bool take_char(struct str *s, const char *any_of)
{
    if (!s->n || !s->p[0] || !strchr(any_of, s->p[0]))
        return false;
    s->p++;
    s->n--;
    return true;
}

/* ".5" and the like, 1 to 9 digits, as nanoseconds; nothing there is 0. */
static bool take_fraction(struct str *s, int32_t *nanos)
{
    *nanos = 0;
    if (!take_char(s, "."))
        return true;
    int32_t scale = 100000000;
    size_t n = 0;
    for (int d; n < 9 && take_digits(s, 1, &d); n++, scale /= 10)
        *nanos += d * scale;
    return n > 0;
}

/* "Z" or "+01:30" as seconds east. */
static bool take_offset(struct str *s, int *seconds)
{
    *seconds = 0;
    if (take_char(s, "Zz"))
        return true;
    int sign = s->n && s->p[0] == '-' ? -1 : 1, hours, minutes;
    if (!take_char(s, "+-") || !take_digits(s, 2, &hours) || !take_char(s, ":") || !take_digits(s, 2, &minutes) || hours > 23 ||
        minutes > 59)
        return false;
    *seconds = sign * (hours * 3600 + minutes * 60);
    return true;
}

static const char *read_timestamp(struct str s, Google__Protobuf__Timestamp *t)
{
    static const char wrong[] = "not a time like 2026-01-31T09:00:00Z";
    int year, month, day, hour, minute, second, offset;
    int32_t nanos;
    if (!take_digits(&s, 4, &year) || !take_char(&s, "-") || !take_digits(&s, 2, &month) || !take_char(&s, "-") ||
        !take_digits(&s, 2, &day) || !take_char(&s, "Tt ") || !take_digits(&s, 2, &hour) || !take_char(&s, ":") ||
        !take_digits(&s, 2, &minute) || !take_char(&s, ":") || !take_digits(&s, 2, &second) || !take_fraction(&s, &nanos) ||
        !take_offset(&s, &offset) || s.n)
        return wrong;
    if (year < 1 || month < 1 || month > 12 || day < 1 || day > days_in_month(year, month) || hour > 23 || minute > 59 || second > 59)
        return wrong;
    int64_t seconds = days_of(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset;
    if (seconds < TIMESTAMP_SECONDS_MIN || seconds > TIMESTAMP_SECONDS_MAX)
        return "a time outside the years 1 to 9999";
    t->seconds = seconds;
    t->nanos = nanos;
    return NULL;
}

/* The fraction with 0, 3, 6 or 9 digits. */
static int write_fraction(struct buf *b, int32_t nanos)
{
    if (nanos == 0)
        return 0;
    if (nanos % 1000000 == 0)
        return buf_addf(b, ".%03d", nanos / 1000000);
    if (nanos % 1000 == 0)
        return buf_addf(b, ".%06d", nanos / 1000);
    return buf_addf(b, ".%09d", nanos);
}

static int write_timestamp(struct buf *b, const Google__Protobuf__Timestamp *t, struct err *e)
{
    if (t->seconds < TIMESTAMP_SECONDS_MIN || t->seconds > TIMESTAMP_SECONDS_MAX || t->nanos < 0 || t->nanos >= NS_PER_S)
        return err_set(e, ERR_INTERNAL, "a Timestamp of %lld s and %d ns is out of range", (long long)t->seconds, t->nanos);
    int64_t days = t->seconds / 86400, rest = t->seconds % 86400;
    if (rest < 0) {
        rest += 86400;
        days--;
    }
    int year, month, day;
    date_of(days, &year, &month, &day);
    if (buf_addf(b, "%04d-%02d-%02dT%02d:%02d:%02d", year, month, day, (int)(rest / 3600), (int)(rest / 60 % 60), (int)(rest % 60)) ||
        write_fraction(b, t->nanos) || buf_addz(b, "Z"))
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "no room for a time");
    return 0;
}

static const char *read_duration(struct str s, Google__Protobuf__Duration *d)
{
    static const char wrong[] = "not a duration like 3.5s";
    bool negative = take_char(&s, "-");
    int64_t seconds = 0;
    int digit;
    size_t digits = 0;
    for (; digits < 13 && take_digits(&s, 1, &digit); digits++)
        seconds = seconds * 10 + digit;
    int32_t nanos;
    if (!digits || !take_fraction(&s, &nanos) || !take_char(&s, "s") || s.n)
        return wrong;
    if (seconds > DURATION_SECONDS_MAX || (seconds == DURATION_SECONDS_MAX && nanos))
        return "a duration of more than 315576000000s";
    d->seconds = negative ? -seconds : seconds;
    d->nanos = negative ? -nanos : nanos;
    return NULL;
}

static int write_duration(struct buf *b, const Google__Protobuf__Duration *d, struct err *e)
{
    bool mixed = (d->seconds > 0 && d->nanos < 0) || (d->seconds < 0 && d->nanos > 0);
    if (mixed || d->seconds > DURATION_SECONDS_MAX || d->seconds < -DURATION_SECONDS_MAX || d->nanos >= NS_PER_S || d->nanos <= -NS_PER_S)
        return err_set(e, ERR_INTERNAL, "a Duration of %lld s and %d ns is out of range", (long long)d->seconds, d->nanos);
    bool negative = d->seconds < 0 || d->nanos < 0;
    if ((negative && buf_addz(b, "-")) || buf_addf(b, "%lld", (long long)(d->seconds < 0 ? -d->seconds : d->seconds)) ||
        write_fraction(b, d->nanos < 0 ? -d->nanos : d->nanos) || buf_addz(b, "s"))
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "no room for a duration");
    return 0;
}

/* --- field masks ---------------------------------------------------------------------------------------------- */

/* rateLimits.maxDispatches -> rate_limits.max_dispatches; what is snake_case stays. NULL: arena full. */
static char *snake_path(struct arena *a, struct str s)
{
    char *out = arena_alloc(a, 2 * s.n + 1);
    size_t n = 0;
    for (size_t i = 0; out && i < s.n; i++) {
        char c = s.p[i];
        if (c >= 'A' && c <= 'Z') {
            out[n++] = '_';
            c = (char)(c - 'A' + 'a');
        }
        out[n++] = c;
    }
    return out;
}

static bool path_valid(struct str s)
{
    size_t snake = s.n;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '*';
        bool dot = c == '.' && i > 0 && i + 1 < s.n && s.p[i - 1] != '.';
        if (!word && !dot)
            return false;
        snake += c >= 'A' && c <= 'Z';
    }
    return s.n > 0 && snake < JSON_NAME_MAX;
}

/* Does `camel` read as `path`? Not when that has an underscore before anything but a lower-case letter. */
static bool reads_as(const char *camel, const char *path)
{
    for (; *camel; camel++, path++) {
        bool upper = *camel >= 'A' && *camel <= 'Z';
        if (upper && *path++ != '_')
            return false;
        if (*path != (upper ? *camel - 'A' + 'a' : *camel))
            return false;
    }
    return *path == '\0';
}

static struct str trimmed(struct str s)
{
    while (s.n && s.p[0] == ' ') {
        s.p++;
        s.n--;
    }
    while (s.n && s.p[s.n - 1] == ' ')
        s.n--;
    return s;
}

static const char *read_mask(struct arena *a, struct str s, Google__Protobuf__FieldMask *m, bool *full)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += s.p[i] == ',';
    m->paths = NULL;
    m->n_paths = 0;
    if (trimmed(s).n == 0)
        return NULL;
    if (n >= FIELD_MASK_PATHS_MAX)
        return "a field mask of too many paths";
    char **paths = arena_alloc(a, (n + 1) * sizeof *paths);
    for (size_t i = 0; paths && i <= n; i++) {
        const char *comma = memchr(s.p, ',', s.n);
        size_t len = comma ? (size_t)(comma - s.p) : s.n;
        struct str path = trimmed((struct str){s.p, len});
        if (!path_valid(path))
            return "not a field mask like labels,retryPolicy.minimumBackoff";
        if (!(paths[i] = snake_path(a, path)))
            break;
        s.p += len + (comma != NULL);
        s.n -= len + (comma != NULL);
        m->n_paths = i + 1;
    }
    *full = !paths || m->n_paths != n + 1;
    m->paths = paths;
    return NULL;
}

static int write_mask(struct buf *b, const Google__Protobuf__FieldMask *m, struct err *e)
{
    for (size_t i = 0; i < m->n_paths; i++) {
        char name[JSON_NAME_MAX];
        const char *path = m->paths[i], *camel = json_name(path, name);
        if ((i && buf_addz(b, ",")) || buf_addz(b, reads_as(camel, path) ? camel : path))
            return err_set(e, ERR_RESOURCE_EXHAUSTED, "no room for a field mask");
    }
    return 0;
}

const char *wkt_read(struct arena *a, enum wkt kind, struct str text, ProtobufCMessage *m, bool *full)
{
    *full = false;
    switch (kind) {
    case WKT_TIMESTAMP:
        return read_timestamp(text, (Google__Protobuf__Timestamp *)m);
    case WKT_DURATION:
        return read_duration(text, (Google__Protobuf__Duration *)m);
    case WKT_FIELD_MASK:
        return read_mask(a, text, (Google__Protobuf__FieldMask *)m, full);
    default:
        return "not a type that is written as text";
    }
}

int wkt_write(struct buf *b, enum wkt kind, const ProtobufCMessage *m, struct err *e)
{
    switch (kind) {
    case WKT_TIMESTAMP:
        return write_timestamp(b, (const Google__Protobuf__Timestamp *)m, e);
    case WKT_DURATION:
        return write_duration(b, (const Google__Protobuf__Duration *)m, e);
    case WKT_FIELD_MASK:
        return write_mask(b, (const Google__Protobuf__FieldMask *)m, e);
    default:
        return err_set(e, ERR_INTERNAL, "%s is not written as text", m->descriptor->name);
    }
}
