/* ackset.c: the acknowledged set of one reader: a floor and bitmap chunks above it. */
#include "broker/ackset.h"

#include <stdlib.h>

#define WORDS (ACK_CHUNK_BITS / 64)

/* The bits are kept as the store keeps them: bit `seq % 8` of byte `seq / 8`, which on little-endian hosts is also
 * bit `seq % 64` of word `seq / 64`. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "chunks are written as they lie in memory");

struct ack_chunk {
    uint64_t words[WORDS];
    uint32_t count;
    bool dirty;
};

static uint64_t chunk_of(uint64_t seq) { return seq / ACK_CHUNK_BITS; }
static struct ack_chunk *chunk_get(const struct ackset *a, uint64_t n) { return u64map_get(a->chunks, n); }

int ackset_init(struct ackset *a, uint64_t floor, struct err *e)
{
    *a = (struct ackset){.floor = floor, .chunks = u64map_new(ACKSET_CHUNKS_MAX + 1)};
    return a->chunks ? 0 : err_set(e, ERR_RESOURCE_EXHAUSTED, "acknowledgements: out of memory");
}

static void drop_chunk(struct ackset *a, uint64_t n, struct ack_chunk *c)
{
    a->above -= c->count;
    a->dirty -= c->dirty;
    u64map_remove(a->chunks, n);
    free(c);
}

void ackset_fini(struct ackset *a)
{
    size_t it = 0;
    uint64_t n;
    void *c;
    if (!a->chunks)
        return;
    while (u64map_next(a->chunks, &it, &n, &c))
        free(c);
    u64map_free(a->chunks);
    *a = (struct ackset){0};
}

static void set_dirty(struct ackset *a, struct ack_chunk *c)
{
    a->dirty += !c->dirty;
    c->dirty = true;
}

bool ackset_has(const struct ackset *a, uint64_t seq)
{
    if (seq < a->floor)
        return true;
    const struct ack_chunk *c = chunk_get(a, chunk_of(seq));
    uint64_t bit = seq % ACK_CHUNK_BITS;
    return c && (c->words[bit / 64] >> (bit % 64) & 1);
}

uint64_t ackset_room(const struct ackset *a) { return (chunk_of(a->floor) + ACKSET_CHUNKS_MAX) * ACK_CHUNK_BITS; }

static struct ack_chunk *chunk_make(struct ackset *a, uint64_t n, struct err *e)
{
    struct ack_chunk *c = chunk_get(a, n);
    if (c)
        return c;
    c = calloc(1, sizeof *c);
    if (!c) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "acknowledgements: out of memory");
        return NULL;
    }
    if (u64map_put(a->chunks, n, c, e)) {
        free(c);
        return NULL;
    }
    return c;
}

/* Clear what lies below the floor in its chunk, so that counts are of bits above only. Below word `w` it is clear already. */
static void clear_below(struct ackset *a, struct ack_chunk *c, uint64_t w, uint64_t bit)
{
    uint32_t before = c->count;
    for (; w < bit / 64; w++) {
        c->count -= (uint32_t)__builtin_popcountll(c->words[w]);
        c->words[w] = 0;
    }
    if (bit % 64) {
        uint64_t low = c->words[bit / 64] & ((UINT64_C(1) << (bit % 64)) - 1);
        c->count -= (uint32_t)__builtin_popcountll(low);
        c->words[bit / 64] ^= low;
    }
    a->above -= before - c->count;
}

/* Let the floor stand at `to`, past everything that is acknowledged there already. */
static void move_floor(struct ackset *a, uint64_t to)
{
    uint64_t was = chunk_of(a->floor), word = a->floor % ACK_CHUNK_BITS / 64, n;
    a->floor = ackset_next(a, to);
    a->floor_dirty = true;
    n = chunk_of(a->floor);
    if (n - was <= u64map_count(a->chunks)) {
        for (uint64_t i = was; i < n; i++) {
            struct ack_chunk *c = chunk_get(a, i);
            if (c)
                drop_chunk(a, i, c);
        }
    } else {
        size_t it = 0;
        uint64_t i;
        void *c;
        while (u64map_next(a->chunks, &it, &i, &c))
            if (i < n)
                drop_chunk(a, i, c);
    }
    struct ack_chunk *c = chunk_get(a, n);
    if (c)
        clear_below(a, c, n == was ? word : 0, a->floor % ACK_CHUNK_BITS);
}

static int no_room(struct err *e)
{
    return err_set(e, ERR_RESOURCE_EXHAUSTED, "acknowledgements: %d chunks ahead of the oldest waiting message", ACKSET_CHUNKS_MAX);
}

int ackset_add(struct ackset *a, uint64_t seq, struct err *e)
{
    if (ackset_has(a, seq))
        return 0;
    if (seq == a->floor) {
        move_floor(a, seq + 1);
        return 1;
    }
    if (seq >= ackset_room(a))
        return no_room(e);
    struct ack_chunk *c = chunk_make(a, chunk_of(seq), e);
    if (!c)
        return -ERR_RESOURCE_EXHAUSTED;
    uint64_t bit = seq % ACK_CHUNK_BITS;
    c->words[bit / 64] |= UINT64_C(1) << (bit % 64);
    c->count++;
    a->above++;
    set_dirty(a, c);
    return 1;
}

/* Set [from, to) of the chunk; returns how many were not set before. */
static uint32_t set_bits(struct ack_chunk *c, uint64_t from, uint64_t to)
{
    uint32_t fresh = 0;
    while (from < to) {
        uint64_t next = (from / 64 + 1) * 64 < to ? (from / 64 + 1) * 64 : to;
        uint64_t mask = (next - from == 64 ? UINT64_MAX : (UINT64_C(1) << (next - from)) - 1) << (from % 64);
        fresh += (uint32_t)__builtin_popcountll(mask & ~c->words[from / 64]);
        c->words[from / 64] |= mask;
        from = next;
    }
    return fresh;
}

int ackset_add_range(struct ackset *a, uint64_t from, uint64_t to, struct err *e)
{
    if (from <= a->floor) {
        if (to > a->floor)
            move_floor(a, to);
        return 0;
    }
    uint64_t room = ackset_room(a);
    for (uint64_t end = to < room ? to : room; from < end;) {
        struct ack_chunk *c = chunk_make(a, chunk_of(from), e);
        if (!c)
            return -ERR_RESOURCE_EXHAUSTED;
        uint64_t next = (chunk_of(from) + 1) * ACK_CHUNK_BITS;
        next = next < end ? next : end;
        uint32_t fresh = set_bits(c, from % ACK_CHUNK_BITS, from % ACK_CHUNK_BITS + (next - from));
        c->count += fresh;
        a->above += fresh;
        if (fresh)
            set_dirty(a, c);
        from = next;
    }
    return to > room ? no_room(e) : 0;
}

void ackset_raise(struct ackset *a, uint64_t seq)
{
    if (seq > a->floor)
        move_floor(a, seq);
}

void ackset_clear_from(struct ackset *a, uint64_t seq)
{
    size_t it = 0;
    uint64_t n;
    void *p;
    if (seq < a->floor) {
        a->floor = seq;
        a->floor_dirty = true;
    }
    while (u64map_next(a->chunks, &it, &n, &p)) {
        struct ack_chunk *c = p;
        if (n < chunk_of(seq))
            continue;
        uint32_t before = c->count;
        for (uint64_t bit = n == chunk_of(seq) ? seq % ACK_CHUNK_BITS : 0; bit < ACK_CHUNK_BITS;) {
            uint64_t gone = c->words[bit / 64] & ~((UINT64_C(1) << (bit % 64)) - 1);
            c->count -= (uint32_t)__builtin_popcountll(gone);
            c->words[bit / 64] ^= gone;
            bit = (bit / 64 + 1) * 64;
        }
        a->above -= before - c->count;
    }
    ackset_spoil(a);
}

int ackset_copy(struct ackset *a, const struct ackset *from, struct err *e)
{
    struct ackset fresh;
    if (ackset_init(&fresh, from->floor, e))
        return -ERR_RESOURCE_EXHAUSTED;
    size_t it = 0;
    uint64_t n;
    void *p;
    while (u64map_next(from->chunks, &it, &n, &p)) {
        struct ack_chunk *c = chunk_make(&fresh, n, e);
        if (!c) {
            ackset_fini(&fresh);
            return -ERR_RESOURCE_EXHAUSTED;
        }
        *c = *(const struct ack_chunk *)p;
        c->dirty = false;
    }
    fresh.above = from->above;
    ackset_fini(a);
    *a = fresh;
    ackset_spoil(a);
    return 0;
}

/* The first clear bit of the chunk at or after `bit`; ACK_CHUNK_BITS when there is none. */
static uint64_t next_clear(const struct ack_chunk *c, uint64_t bit)
{
    while (bit < ACK_CHUNK_BITS) {
        uint64_t clear = ~c->words[bit / 64] & ~((UINT64_C(1) << (bit % 64)) - 1);
        if (clear)
            return bit / 64 * 64 + (uint64_t)__builtin_ctzll(clear);
        bit = (bit / 64 + 1) * 64;
    }
    return ACK_CHUNK_BITS;
}

uint64_t ackset_next(const struct ackset *a, uint64_t seq)
{
    if (seq < a->floor)
        seq = a->floor;
    for (;;) {
        const struct ack_chunk *c = chunk_get(a, chunk_of(seq));
        if (!c)
            return seq;
        uint64_t bit = next_clear(c, seq % ACK_CHUNK_BITS);
        seq = chunk_of(seq) * ACK_CHUNK_BITS + bit;
        if (bit < ACK_CHUNK_BITS)
            return seq;
    }
}

uint64_t ackset_count_from(const struct ackset *a, uint64_t seq)
{
    if (seq <= a->floor)
        return a->above;
    uint64_t total = 0, n;
    size_t it = 0;
    void *p;
    while (u64map_next(a->chunks, &it, &n, &p)) {
        const struct ack_chunk *c = p;
        if (n > chunk_of(seq))
            total += c->count;
        if (n != chunk_of(seq))
            continue;
        for (uint64_t bit = seq % ACK_CHUNK_BITS; bit < ACK_CHUNK_BITS; bit = (bit / 64 + 1) * 64)
            total += (uint64_t)__builtin_popcountll(c->words[bit / 64] & ~((UINT64_C(1) << (bit % 64)) - 1));
    }
    return total;
}

uint64_t ackset_end(const struct ackset *a)
{
    uint64_t end = a->floor, n;
    size_t it = 0;
    void *p;
    while (u64map_next(a->chunks, &it, &n, &p)) {
        const struct ack_chunk *c = p;
        size_t w = WORDS;
        while (w > 0 && !c->words[w - 1])
            w--;
        uint64_t last = w ? n * ACK_CHUNK_BITS + w * 64 - (uint64_t)__builtin_clzll(c->words[w - 1]) : 0;
        end = last > end ? last : end;
    }
    return end;
}

bool ackset_dirty(const struct ackset *a) { return a->floor_dirty || a->dirty; }

int ackset_store(struct ackset *a, struct store_txn *t, uint64_t id, bool all, struct err *e)
{
    size_t it = 0;
    uint64_t n;
    void *p;
    if (a->rewrite && store_txn_drop_acks(t, id, e))
        return -ERR_RESOURCE_EXHAUSTED;
    all |= a->rewrite;
    if ((all || a->floor_dirty) && store_txn_floor(t, id, a->floor, e))
        return -ERR_RESOURCE_EXHAUSTED;
    while ((all || a->dirty) && u64map_next(a->chunks, &it, &n, &p)) {
        const struct ack_chunk *c = p;
        if ((all || c->dirty) && c->count && store_txn_chunk(t, id, n, (const uint8_t *)c->words, e))
            return -ERR_RESOURCE_EXHAUSTED;
    }
    for (it = 0; a->dirty && u64map_next(a->chunks, &it, &n, &p);) {
        struct ack_chunk *c = p;
        a->dirty -= c->dirty;
        c->dirty = false;
    }
    a->floor_dirty = a->rewrite = false;
    return 0;
}

void ackset_spoil(struct ackset *a)
{
    size_t it = 0;
    uint64_t n;
    void *p;
    a->floor_dirty = a->rewrite = true;
    while (u64map_next(a->chunks, &it, &n, &p))
        set_dirty(a, p);
}

int ackset_load_chunk(struct ackset *a, uint64_t chunk, const uint8_t *bits, struct err *e)
{
    if (chunk < chunk_of(a->floor))
        return 0;
    struct ack_chunk *c = chunk_make(a, chunk, e);
    if (!c)
        return -ERR_RESOURCE_EXHAUSTED;
    a->above -= c->count;
    memcpy(c->words, bits, ACK_CHUNK_BYTES);
    c->count = 0;
    for (size_t w = 0; w < WORDS; w++)
        c->count += (uint32_t)__builtin_popcountll(c->words[w]);
    a->above += c->count;
    if (chunk == chunk_of(a->floor))
        clear_below(a, c, 0, a->floor % ACK_CHUNK_BITS);
    if (ackset_has(a, a->floor))
        move_floor(a, a->floor);
    return 0;
}
