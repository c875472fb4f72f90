/* zone_file.c: zones by name: what may be a name, where the files are, and which zone was meant when there is none. */
#include "core/base/near.h"
#include "schedules/zone_int.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define SYSTEM_DIR "/usr/share/zoneinfo"
#define NAMES_MAX 2048 /* looked at for a near one; tzdata has 600 */
#define DEPTH_MAX 3    /* America/Argentina/Ushuaia */

int zone_name_check(const char *name, struct err *e)
{
    size_t n = strnlen(name, ZONE_NAME_MAX + 1);
    bool ok = n > 0 && n <= ZONE_NAME_MAX && isalnum((unsigned char)name[0]) && name[n - 1] != '/' && !strstr(name, "//");
    for (size_t i = 0; ok && i < n; i++)
        ok = isalnum((unsigned char)name[i]) || strchr("/_+-", name[i]);
    if (ok && (strcmp(name, "localtime") == 0 || strcmp(name, "posixrules") == 0))
        return err_set(e, ERR_INVALID_ARGUMENT, "'%s' is what this machine is set to; give the zone's own name, such as Europe/Berlin",
                       name);
    if (ok)
        return 0;
    return err_set(e, ERR_INVALID_ARGUMENT,
                   "'%.64s' cannot be a time zone: zones are named as in the tz database, such as Europe/Berlin or UTC, with at most %d "
                   "letters, digits and / _ + -",
                   name, ZONE_NAME_MAX);
}

static const char *zone_dir(const char *dir)
{
    const char *env = getenv("TZDIR");
    return dir ? dir : env && *env ? env : SYSTEM_DIR;
}

/* Google's interface wants "utc" where the tz database has "UTC". */
bool zone_is_utc(const char *name) { return strcasecmp(name, "utc") == 0 || strcmp(name, "Etc/UTC") == 0; }

bool zone_path(const char *dir, const char *name, char *out, size_t room)
{
    int n = snprintf(out, room, "%s/%s", zone_dir(dir), name);
    return n > 0 && (size_t)n < room;
}

/* ---- which one was meant ---- */

struct names {
    char (*name)[ZONE_NAME_MAX + 1];
    size_t n;
};

static void collect(struct names *names, const char *dir, const char *prefix, int depth)
{
    char path[512], name[ZONE_NAME_MAX + 1];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", dir, prefix);
    DIR *d = opendir(path);
    for (struct dirent *entry; d && names->n < NAMES_MAX && (entry = readdir(d));) {
        if ((size_t)snprintf(name, sizeof name, "%s%s%s", prefix, *prefix ? "/" : "", entry->d_name) >= sizeof name ||
            zone_name_check(name, NULL) || (!depth && (!strcmp(name, "posix") || !strcmp(name, "right"))))
            continue;
        if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, name) >= sizeof path || stat(path, &st) != 0)
            continue;
        if (S_ISREG(st.st_mode))
            memcpy(names->name[names->n++], name, sizeof name);
        else if (S_ISDIR(st.st_mode) && depth + 1 < DEPTH_MAX)
            collect(names, dir, name, depth + 1);
    }
    if (d)
        closedir(d);
}

static void lower(const char *from, char to[ZONE_NAME_MAX + 1])
{
    size_t i = 0;
    for (; from[i] && i < ZONE_NAME_MAX; i++)
        to[i] = from[i] == ' ' ? '_' : (char)tolower((unsigned char)from[i]);
    to[i] = '\0';
}

/* The one whose name, or whose last part, is nearest, in whatever case; NULL when none is near. */
static const char *nearest(const struct names *names, const char *wrong)
{
    const char *best = NULL;
    char want[ZONE_NAME_MAX + 1], have[ZONE_NAME_MAX + 1];
    lower(wrong, want);
    size_t best_distance = 2 + strlen(want) / 5; /* further is another word */
    for (size_t i = 0; i < names->n; i++) {
        lower(names->name[i], have);
        const char *city = strrchr(have, '/');
        size_t d = near_distance(want, have), by_city = city ? near_distance(want, city + 1) : d;
        d = by_city < d ? by_city : d;
        /* Of equals the first in the alphabet, whatever the order of the folder. */
        if (d < best_distance || (best && d == best_distance && strcmp(names->name[i], best) < 0)) {
            best_distance = d;
            best = names->name[i];
        }
    }
    return best;
}

static int not_there(const char *dir, const char *name, struct err *e)
{
    struct names names = {.name = calloc(NAMES_MAX, sizeof *names.name)};
    if (!names.name)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "time zone '%s': out of memory", name);
    collect(&names, zone_dir(dir), "", 0);
    const char *near = nearest(&names, name);
    int rc;
    if (!names.n)
        rc = err_set(e, ERR_FAILED_PRECONDITION,
                     "time zone '%s': there are no time zones in %s; install the package tzdata, or say where it is by TZDIR (UTC works "
                     "without)",
                     name, zone_dir(dir));
    else if (near)
        rc = err_set(e, ERR_INVALID_ARGUMENT, "there is no time zone '%s'; did you mean '%s'?", name, near);
    else
        rc = err_set(e, ERR_INVALID_ARGUMENT,
                     "there is no time zone '%s'; zones are named as in the tz database, such as Europe/Berlin, America/New_York or UTC",
                     name);
    free(names.name);
    return rc;
}

/* ---- reading ---- */

static int read_file(int fd, const char *name, struct zone **out, struct err *e)
{
    struct buf b;
    ssize_t got = 1;
    int rc = 0;
    buf_init(&b, ZONE_FILE_BYTES_MAX + 4096);
    while (got > 0 && buf_len(&b) <= ZONE_FILE_BYTES_MAX && !rc) {
        char *to = buf_reserve(&b, 4096);
        if (!to)
            rc = err_set(e, ERR_RESOURCE_EXHAUSTED, "time zone '%s': out of memory", name);
        else if ((got = read(fd, to, 4096)) > 0)
            buf_commit(&b, (size_t)got);
        else if (got < 0 && errno == EINTR)
            got = 1;
        else if (got < 0)
            rc = err_sys(e, ERR_UNAVAILABLE, errno, "time zone '%s': its file cannot be read", name);
    }
    if (!rc)
        rc = zone_parse(name, buf_data(&b) ? buf_data(&b) : "", buf_len(&b), out, e);
    buf_fini(&b);
    return rc;
}

/* What UTC is without any file: nothing but its rule. */
static int load_utc(const char *name, struct zone **out, struct err *e)
{
    struct zone *z = calloc(1, sizeof *z);
    if (!z)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "time zone '%s': out of memory", name);
    atomic_init(&z->refs, 1);
    memcpy(z->name, name, strlen(name));
    z->n_types = 1;
    memcpy(z->types[0].abbreviation, "UTC", 3);
    *out = z;
    return 0;
}

int zone_load_from(const char *dir, const char *name, struct zone **out, struct err *e)
{
    char path[512];
    struct stat st;
    int rc = zone_name_check(name, e);
    if (rc)
        return rc;
    if (zone_is_utc(name))
        return load_utc(name, out, e);
    if (!zone_path(dir, name, path, sizeof path))
        return err_set(e, ERR_INVALID_ARGUMENT, "time zone '%s': the path of its file is too long", name);
    /* Not to wait on a pipe that somebody has put there. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return not_there(dir, name, e);
    if (fd < 0)
        return err_sys(e, ERR_UNAVAILABLE, errno, "time zone '%s': its file cannot be opened", name);
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        rc = read_file(fd, name, out, e);
    else
        rc = not_there(dir, name, e); /* Europe */
    close(fd);
    return rc;
}

int zone_load(const char *name, struct zone **out, struct err *e) { return zone_load_from(NULL, name, out, e); }
