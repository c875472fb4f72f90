/* zone_cache.c: zones by name, with what their files looked like when they were read. */
#include "schedules/zone_cache.h"
#include "core/base/map.h"
#include "schedules/zone_int.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>

struct entry {
    struct zone *zone;
    struct stat seen; /* st_ino 0: there was no file */
};
struct zone_cache {
    pthread_mutex_t lock;
    char *dir; /* NULL: the system's */
    struct map *entries;
};

struct zone_cache *zone_cache_new(const char *dir)
{
    struct zone_cache *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->entries = map_new(ZONE_CACHE_MAX);
    c->dir = dir ? strdup(dir) : NULL;
    if (!c->entries || (dir && !c->dir)) {
        map_free(c->entries);
        free(c->dir);
        free(c);
        return NULL;
    }
    pthread_mutex_init(&c->lock, NULL);
    return c;
}

static void entry_free(struct entry *entry)
{
    zone_unref(entry->zone);
    free(entry);
}

void zone_cache_free(struct zone_cache *c)
{
    size_t it = 0;
    void *entry;
    if (!c)
        return;
    while (map_next(c->entries, &it, NULL, &entry))
        entry_free(entry);
    map_free(c->entries);
    pthread_mutex_destroy(&c->lock);
    free(c->dir);
    free(c);
}

static struct stat look(const struct zone_cache *c, const char *name)
{
    char path[512];
    struct stat st;
    if (zone_is_utc(name) || !zone_path(c->dir, name, path, sizeof path) || stat(path, &st) != 0)
        return (struct stat){0};
    return st;
}

bool zone_cache_sees(const struct zone_cache *c, const char *name) { return look(c, name).st_ino != 0; }

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static void drop_unused(struct zone_cache *c)
{
    size_t it = 0;
    const char *name;
    void *entry;
    while (map_next(c->entries, &it, &name, &entry)) {
        if (atomic_load(&((struct entry *)entry)->zone->refs) == 1) {
            (void)map_remove(c->entries, name);
            entry_free(entry);
        }
    }
}

static int add(struct zone_cache *c, const char *name, struct entry **out, struct err *e)
{
    struct entry *entry = calloc(1, sizeof *entry);
    if (!entry)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "time zone '%s': out of memory", name);
    /* Looked at before it is read: what changes in between is found by the next refresh. */
    entry->seen = look(c, name);
    int rc = zone_load_from(c->dir, name, &entry->zone, e);
    if (!rc && map_count(c->entries) == ZONE_CACHE_MAX)
        drop_unused(c);
    if (!rc && (rc = map_put(c->entries, name, entry, e)))
        err_wrap(e, "time zone '%s': at most %d are in use at once", name, ZONE_CACHE_MAX);
    if (rc)
        entry_free(entry);
    else
        *out = entry;
    return rc;
}

int zone_cache_get(struct zone_cache *c, const char *name, struct zone **out, struct err *e)
{
    int rc = 0;
    pthread_mutex_lock(&c->lock);
    struct entry *entry = map_get(c->entries, name);
    if (!entry)
        rc = add(c, name, &entry, e);
    if (!rc)
        *out = zone_ref(entry->zone);
    pthread_mutex_unlock(&c->lock);
    return rc;
}

static int reload(struct zone_cache *c, struct entry *entry, size_t *changed, struct err *e)
{
    struct zone *now = NULL;
    const char *name = entry->zone->name;
    struct stat seen = look(c, name);
    if (same_file(&seen, &entry->seen))
        return 0;
    int rc = zone_load_from(c->dir, name, &now, e);
    if (rc)
        return rc; /* and not seen: it is tried again */
    entry->seen = seen;
    if (now->hash == entry->zone->hash) {
        zone_unref(now);
        return 0;
    }
    zone_unref(entry->zone);
    entry->zone = now;
    ++*changed;
    return 0;
}

int zone_cache_refresh(struct zone_cache *c, size_t *changed, struct err *e)
{
    size_t it = 0;
    void *entry;
    int rc = 0;
    *changed = 0;
    pthread_mutex_lock(&c->lock);
    while (map_next(c->entries, &it, NULL, &entry)) {
        int one = reload(c, entry, changed, rc ? NULL : e);
        rc = rc ? rc : one;
    }
    pthread_mutex_unlock(&c->lock);
    return rc;
}
