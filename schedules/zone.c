/* zone.c: questions to a zone's table of changes. */
#include "schedules/zone_int.h"
#include "core/base/clock.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

struct zone *zone_ref(struct zone *z)
{
    atomic_fetch_add(&z->refs, 1);
    return z;
}

void zone_unref(struct zone *z)
{
    if (z && atomic_fetch_sub(&z->refs, 1) == 1)
        free(z);
}

const char *zone_name(const struct zone *z) { return z->name; }

/* How many cycles to step back (negative: forward) so that the table covers the instant. */
static int64_t cycles_off(const struct zone *z, int64_t at_s)
{
    int64_t past_s = at_s - z->cycle_s;
    if (z->repeats && (past_s >= ZONE_CYCLE_S || (past_s < 0 && z->always_rules)))
        return past_s / ZONE_CYCLE_S - (past_s % ZONE_CYCLE_S < 0);
    return 0;
}

/* How many changes are at or before the instant. */
static size_t count_until(const struct zone *z, int64_t at_s)
{
    size_t low = 0, high = z->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (z->at_s[mid] <= at_s)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* The type that holds before change `i`. */
static const struct zone_type *type_before(const struct zone *z, size_t i) { return &z->types[i ? z->type_at[i - 1] : 0]; }

/* The furthest that the local clock had come before change `i`. Only changes of the last two days or so can have been further than
 * the clock before the last of them: no offset is more than 26 hours. */
static int64_t reached_before(const struct zone *z, size_t i)
{
    int64_t furthest = z->at_s[i] + type_before(z, i)->offset_s;
    for (size_t k = i; k-- > 0 && z->at_s[k] > z->at_s[i] - 2 * ZONE_OFFSET_MAX_S;)
        if (z->at_s[k] + type_before(z, k)->offset_s > furthest)
            furthest = z->at_s[k] + type_before(z, k)->offset_s;
    return furthest;
}

void zone_span(const struct zone *z, int64_t at_s, struct zone_span *out)
{
    if (at_s < -ZONE_FOREVER_S)
        at_s = -ZONE_FOREVER_S;
    if (at_s >= ZONE_FOREVER_S)
        at_s = ZONE_FOREVER_S - 1;
    int64_t shift_s = cycles_off(z, at_s) * ZONE_CYCLE_S;
    size_t n = count_until(z, at_s - shift_s);
    const struct zone_type *type = type_before(z, n);
    *out = (struct zone_span){
        .start_s = -ZONE_FOREVER_S,
        .end_s = n < z->n ? z->at_s[n] + shift_s : ZONE_FOREVER_S,
        .reached_s = -ZONE_FOREVER_S + type->offset_s,
        .offset_s = type->offset_s,
        .dst = type->dst,
        .abbreviation = type->abbreviation,
    };
    if (n) {
        out->start_s = z->at_s[n - 1] + shift_s;
        out->reached_s = reached_before(z, n - 1) + shift_s;
    }
}

int zone_instants(const struct zone *z, int64_t local_s, int64_t at[2])
{
    int found = 0;
    bool after_gap = false;
    struct zone_span s;
    for (int64_t t = local_s - ZONE_OFFSET_MAX_S; t <= local_s + ZONE_OFFSET_MAX_S && found < 2; t = s.end_s) {
        zone_span(z, t, &s);
        int64_t instant = local_s - s.offset_s;
        if (instant >= s.start_s && instant < s.end_s) {
            at[found++] = instant;
        } else if (!found && !after_gap && instant < s.start_s) {
            after_gap = true;
            at[0] = s.start_s;
        }
    }
    return found;
}

bool zone_next_change(const struct zone *z, int64_t after_s, struct zone_change *out)
{
    struct zone_span before, after;
    zone_span(z, after_s, &before);
    /* A rule whose summer time is no other than its standard time would go on for ever. */
    for (size_t i = 0; i <= z->n && before.end_s < ZONE_FOREVER_S; i++) {
        zone_span(z, before.end_s, &after);
        if (after.offset_s != before.offset_s) {
            *out = (struct zone_change){before, after};
            return true;
        }
        before = after;
    }
    return false;
}

char *zone_format(const struct zone *z, int64_t at_s, char out[ZONE_TEXT_MAX])
{
    struct zone_span s;
    char text[WALL_TEXT_MAX];
    zone_span(z, at_s, &s);
    int64_t local_s = at_s + s.offset_s;
    assert(local_s >= WALL_SECONDS_MIN && local_s <= WALL_SECONDS_MAX);
    wall_format_parts(local_s, 0, text);
    text[strlen(text) - 1] = '\0'; /* Z */
    int minutes = abs(s.offset_s) / 60;
    snprintf(out, ZONE_TEXT_MAX, "%.24s%c%02d:%02d", text, s.offset_s < 0 ? '-' : '+', minutes / 60, minutes % 60);
    return out;
}
