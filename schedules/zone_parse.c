/* zone_parse.c: the reader of TZif files, versions 1 to 4. What is in them is checked before it is used: a broken file is refused, and
 * what was read before stays. */
#include "core/base/clock.h"
#include "core/base/text.h"
#include "schedules/zone_int.h"

#include <stdlib.h>

#define HEAD_BYTES 44
#define ABBREVIATIONS_BYTES_MAX 512
#define FILE_TYPES_MAX 256

struct input {
    const unsigned char *p, *end;
};
/* Of one block: how many there are of each. */
struct counts {
    uint32_t is_ut, is_standard, leaps, times, types, characters;
    size_t time_bytes; /* 4 in the first block, 8 in the second */
};

static size_t left(const struct input *in) { return (size_t)(in->end - in->p); }

/* Big-endian, two's complement; the caller has looked whether it is there. */
static int64_t take_int(struct input *in, size_t bytes)
{
    uint64_t v = in->p[0] & 0x80 ? UINT64_MAX : 0;
    for (size_t i = 0; i < bytes; i++)
        v = v << 8 | *in->p++;
    return (int64_t)v;
}

static uint32_t take_count(struct input *in) { return (uint32_t)take_int(in, 4); }

static int bad(struct err *e, const char *what) { return err_set(e, ERR_DATA_LOSS, "%s", what); }

/* The size of the block's data is within 64 bits whatever the counts are. */
static uint64_t data_bytes(const struct counts *c)
{
    return (uint64_t)c->times * (c->time_bytes + 1) + (uint64_t)c->types * 6 + c->characters + (uint64_t)c->leaps * (c->time_bytes + 4) +
           c->is_standard + c->is_ut;
}

static int take_head(struct input *in, size_t time_bytes, int *version, struct counts *c, struct err *e)
{
    if (left(in) < HEAD_BYTES || memcmp(in->p, "TZif", 4) != 0)
        return bad(e, "it is not a time zone file (TZif)");
    *version = in->p[4] == 0 ? 1 : in->p[4] - '0';
    if (*version < 1 || *version > 9)
        return bad(e, "its version is not known");
    in->p += 20;
    *c = (struct counts){.time_bytes = time_bytes};
    c->is_ut = take_count(in);
    c->is_standard = take_count(in);
    c->leaps = take_count(in);
    c->times = take_count(in);
    c->types = take_count(in);
    c->characters = take_count(in);
    if (data_bytes(c) > left(in))
        return bad(e, "it ends too early");
    return 0;
}

static int check_counts(const struct counts *c, struct err *e)
{
    if (c->leaps)
        return bad(e, "it counts leap seconds, which no clock here does; take the zone without right/");
    if (c->times > ZONE_TIMES_MAX || c->types == 0 || c->types > FILE_TYPES_MAX || c->characters == 0 ||
        c->characters > ABBREVIATIONS_BYTES_MAX)
        return bad(e, "its counts are out of bounds");
    if ((c->is_ut && c->is_ut != c->types) || (c->is_standard && c->is_standard != c->types))
        return bad(e, "its counts do not agree");
    return 0;
}

static int take_times(struct zone *z, struct input *in, const struct counts *c, struct err *e)
{
    for (uint32_t i = 0; i < c->times; i++) {
        z->at_s[i] = take_int(in, c->time_bytes);
        if (z->at_s[i] <= -ZONE_FOREVER_S || z->at_s[i] > WALL_SECONDS_MAX || (i && z->at_s[i] <= z->at_s[i - 1]))
            return bad(e, "its times are out of order, or after the year 9999");
    }
    for (uint32_t i = 0; i < c->times; i++) {
        z->type_at[i] = *in->p++;
        if (z->type_at[i] >= c->types)
            return bad(e, "a time has a type that is not there");
    }
    z->n = c->times;
    return 0;
}

static int take_types(struct zone *z, struct input *in, const struct counts *c, struct err *e)
{
    const char *characters = (const char *)in->p + (size_t)c->types * 6;
    for (uint32_t i = 0; i < c->types; i++) {
        int64_t offset_s = take_int(in, 4);
        unsigned dst = *in->p++, at = *in->p++;
        size_t n = at < c->characters ? strnlen(characters + at, c->characters - at) : 0;
        if (at >= c->characters || n == c->characters - at || n > ZONE_ABBREVIATION_MAX || dst > 1 || offset_s < -ZONE_OFFSET_MAX_S ||
            offset_s > ZONE_OFFSET_MAX_S)
            return bad(e, "a kind of local time is out of bounds");
        z->types[i] = (struct zone_type){.offset_s = (int32_t)offset_s, .dst = dst};
        for (size_t k = 0; k < n; k++) { /* nothing that could disturb a terminal or a log */
            char ch = characters[at + k];
            z->types[i].abbreviation[k] = ch > ' ' && ch < 127 ? ch : '?';
        }
    }
    z->n_types = c->types;
    in->p += c->characters + c->is_standard + c->is_ut;
    return 0;
}

static int take_rule(struct zone *z, struct input *in, struct err *e)
{
    const unsigned char *end = left(in) && *in->p == '\n' ? memchr(in->p + 1, '\n', left(in) - 1) : NULL;
    struct zone_rule rule;
    if (!end)
        return bad(e, "the rule at its end is missing");
    struct str text = {(const char *)in->p + 1, (size_t)(end - in->p) - 1};
    if (text.n == 0) /* the last change holds for ever */
        return 0;
    int rc = zone_rule_parse(text, &rule, e);
    return rc ? rc : zone_rule_apply(z, &rule, e);
}

static int take_file(struct zone *z, struct input *in, struct err *e)
{
    int version, rc;
    struct counts c;
    if ((rc = take_head(in, 4, &version, &c, e)))
        return rc;
    if (version > 1) { /* the first block is there for readers of version 1 alone */
        in->p += data_bytes(&c);
        if ((rc = take_head(in, 8, &version, &c, e)))
            return rc;
    }
    if ((rc = check_counts(&c, e)) || (rc = take_times(z, in, &c, e)) || (rc = take_types(z, in, &c, e)))
        return rc;
    return version > 1 ? take_rule(z, in, e) : 0;
}

int zone_parse(const char *name, const void *data, size_t n, struct zone **out, struct err *e)
{
    int rc = zone_name_check(name, e);
    if (rc)
        return rc;
    struct input in = {data, (const unsigned char *)data + n};
    struct zone *z = calloc(1, sizeof *z);
    if (!z)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "time zone '%s': out of memory", name);
    atomic_init(&z->refs, 1);
    memcpy(z->name, name, strlen(name));
    z->hash = hash_bytes(data, n, 0);
    if (n > ZONE_FILE_BYTES_MAX)
        rc = bad(e, "it is too large for a time zone file");
    else
        rc = take_file(z, &in, e);
    if (rc) {
        zone_unref(z);
        return err_wrap(e, "time zone '%s': its file is broken", name);
    }
    *out = z;
    return 0;
}
