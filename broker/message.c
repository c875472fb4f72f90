/* message.c: a published message as one allocation: the struct, the attribute table and the record bytes they point into. */
#include "broker/message.h"

#include "core/base/text.h"

#include <stdlib.h>

typedef Google__Pubsub__V1__PubsubMessage PbMessage;
typedef Google__Pubsub__V1__PubsubMessage__AttributesEntry PbAttribute;

/* Field numbers of PubsubMessage (and 1, 2 of its map entries), as in pubsub.proto. */
enum { FIELD_DATA = 1, FIELD_ATTRIBUTES = 2, FIELD_ORDERING_KEY = 5, ENTRY_KEY = 1, ENTRY_VALUE = 2 };
enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

/* ---- checks ---- */

static int check_attribute(const PbAttribute *at, size_t index, struct err *e)
{
    size_t key = strlen(at->key), value = strlen(at->value);
    if (key == 0)
        return err_set(e, ERR_INVALID_ARGUMENT, "messages[%zu].attributes: a key is empty", index);
    if (key > MESSAGE_KEY_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "messages[%zu].attributes: key \"%.40s...\" has %zu bytes; at most %d are allowed", index,
                       at->key, key, MESSAGE_KEY_MAX);
    if (value > MESSAGE_VALUE_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "messages[%zu].attributes[\"%.64s\"]: %zu bytes; at most %d are allowed", index, at->key,
                       value, MESSAGE_VALUE_MAX);
    if (strncmp(at->key, "goog", 4) == 0)
        return err_set(e, ERR_INVALID_ARGUMENT, "messages[%zu].attributes[\"%.64s\"]: keys that begin with goog are reserved", index,
                       at->key);
    if (!utf8_valid(at->key, key) || !utf8_valid(at->value, value))
        return err_set(e, ERR_INVALID_ARGUMENT, "messages[%zu].attributes[\"%.64s\"]: not UTF-8", index, at->key);
    return 0;
}

static int check_message(const PbMessage *m, size_t index, struct err *e)
{
    if (m->data.len == 0 && m->n_attributes == 0)
        return err_set(e, ERR_INVALID_ARGUMENT, "Some messages are empty: messages[%zu] needs data or at least one attribute", index);
    if (m->n_attributes > MESSAGE_ATTRIBUTES_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "messages[%zu].attributes: %zu attributes; at most %d are allowed", index, m->n_attributes,
                       MESSAGE_ATTRIBUTES_MAX);
    size_t key = strlen(m->ordering_key);
    if (key > MESSAGE_ORDERING_KEY_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "messages[%zu].ordering_key: %zu bytes; at most %d are allowed", index, key,
                       MESSAGE_ORDERING_KEY_MAX);
    if (!utf8_valid(m->ordering_key, key))
        return err_set(e, ERR_INVALID_ARGUMENT, "messages[%zu].ordering_key: not UTF-8", index);
    for (size_t i = 0; i < m->n_attributes; i++)
        if (check_attribute(m->attributes[i], index, e))
            return -ERR_INVALID_ARGUMENT;
    return 0;
}

/* ---- reading the record: slices into it, no copies ---- */

struct reader {
    const char *p, *end;
};

static bool read_varint(struct reader *r, uint64_t *out)
{
    *out = 0;
    for (unsigned shift = 0; shift < 64 && r->p < r->end; shift += 7) {
        uint8_t byte = (uint8_t)*r->p++;
        *out |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return true;
    }
    return false;
}

static bool read_bytes(struct reader *r, struct str *out)
{
    uint64_t n;
    if (!read_varint(r, &n) || n > (uint64_t)(r->end - r->p))
        return false;
    *out = (struct str){r->p, (size_t)n};
    r->p += n;
    return true;
}

/* The next field: its number and, when it is bytes, its value (else empty). */
static bool read_field(struct reader *r, uint64_t *number, struct str *value)
{
    uint64_t tag, skipped;
    *value = (struct str){"", 0};
    if (!read_varint(r, &tag))
        return false;
    *number = tag >> 3;
    switch (tag & 7) {
    case WIRE_BYTES:
        return read_bytes(r, value);
    case WIRE_VARINT:
        return read_varint(r, &skipped);
    case WIRE_FIXED64:
    case WIRE_FIXED32: {
        ptrdiff_t n = (tag & 7) == WIRE_FIXED64 ? 8 : 4;
        if (r->end - r->p < n)
            return false;
        r->p += n;
        return true;
    }
    default:
        return false;
    }
}

static bool read_attribute(struct str entry, struct attribute *out)
{
    struct reader r = {entry.p, entry.p + entry.n};
    *out = (struct attribute){{"", 0}, {"", 0}};
    while (r.p < r.end) {
        uint64_t number;
        struct str value;
        if (!read_field(&r, &number, &value))
            return false;
        if (number == ENTRY_KEY)
            out->key = value;
        else if (number == ENTRY_VALUE)
            out->value = value;
    }
    return true;
}

static bool count_attributes(struct str record, size_t *n)
{
    struct reader r = {record.p + 1, record.p + record.n};
    for (*n = 0; r.p < r.end;) {
        uint64_t number;
        struct str value;
        if (!read_field(&r, &number, &value))
            return false;
        *n += number == FIELD_ATTRIBUTES;
    }
    return true;
}

/* Point m's slices into m->record. */
static bool slice_record(struct message *m)
{
    struct reader r = {m->record.p + 1, m->record.p + m->record.n};
    m->data = m->ordering_key = (struct str){"", 0};
    m->n_attributes = 0;
    while (r.p < r.end) {
        uint64_t number;
        struct str value;
        if (!read_field(&r, &number, &value))
            return false;
        if (number == FIELD_DATA)
            m->data = value;
        else if (number == FIELD_ORDERING_KEY)
            m->ordering_key = value;
        else if (number == FIELD_ATTRIBUTES && !read_attribute(value, &m->attributes[m->n_attributes++]))
            return false;
    }
    return true;
}

/* ---- making ---- */

static struct message *allocate(size_t record_bytes, size_t attributes)
{
    size_t table = attributes * sizeof(struct attribute);
    struct message *m = malloc(sizeof *m + table + record_bytes);
    if (!m)
        return NULL;
    memset(m, 0, sizeof *m);
    m->refs = 1;
    m->attributes = (struct attribute *)(void *)(m + 1);
    m->record = (struct str){(char *)(m + 1) + table, record_bytes};
    m->bytes = record_bytes + sizeof *m + table;
    return m;
}

struct message *message_new(const PbMessage *in, size_t index, struct err *e)
{
    if (check_message(in, index, e))
        return NULL;
    PbMessage kept = *in; /* the id and the time are ours to give */
    kept.message_id = (char *)protobuf_c_empty_string;
    kept.publish_time = NULL;
    kept.base.n_unknown_fields = 0;
    size_t packed = google__pubsub__v1__pubsub_message__get_packed_size(&kept);
    if (packed > MESSAGE_BYTES_MAX) {
        err_set(e, ERR_INVALID_ARGUMENT, "messages[%zu]: %zu bytes; at most %u are allowed", index, packed, MESSAGE_BYTES_MAX);
        return NULL;
    }
    struct message *m = allocate(packed + 1, in->n_attributes);
    if (!m) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "messages[%zu]: out of memory", index);
        return NULL;
    }
    char *record = (char *)(m->attributes + in->n_attributes);
    record[0] = MESSAGE_RECORD_VERSION;
    google__pubsub__v1__pubsub_message__pack(&kept, (uint8_t *)record + 1);
    if (!slice_record(m)) {
        message_unref(m);
        err_set(e, ERR_INTERNAL, "messages[%zu]: the encoded record does not read back", index);
        return NULL;
    }
    return m;
}

struct message *message_from_record(struct str record, struct err *e)
{
    size_t attributes;
    if (record.n == 0 || record.p[0] != MESSAGE_RECORD_VERSION) {
        err_set(e, ERR_DATA_LOSS, "message record: version %d is not known to this program", record.n ? (uint8_t)record.p[0] : -1);
        return NULL;
    }
    if (!count_attributes(record, &attributes)) {
        err_set(e, ERR_DATA_LOSS, "message record: malformed");
        return NULL;
    }
    struct message *m = allocate(record.n, attributes);
    if (!m) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "message record: out of memory");
        return NULL;
    }
    memcpy((char *)(m->attributes + attributes), record.p, record.n);
    if (!slice_record(m)) {
        message_unref(m);
        err_set(e, ERR_DATA_LOSS, "message record: malformed attribute");
        return NULL;
    }
    return m;
}

struct message *message_ref(struct message *m)
{
    m->refs++;
    return m;
}

void message_unref(struct message *m)
{
    if (m && --m->refs == 0)
        free(m);
}
