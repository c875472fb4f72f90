/* name.c: are these the parts of that name? */
#include "core/rpc/name.h"

#include "core/base/buf.h"

#include <ctype.h>
#include <string.h>

static const struct name_part place[] = {NAME_PROJECT, NAME_LOCATION};

bool name_id_fits(const char *id, size_t n, const struct name_part *part)
{
    if (n == 0 || n > part->id_max)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)id[i]) && !strchr(part->more, id[i]))
            return false;
    return true;
}

/* projects/P/locations/-: elsewhere this stands for all locations; here, as for Cloud Tasks and Cloud Scheduler, it is none. */
static bool is_wildcard(struct str id, const struct name_part *part)
{
    return str_is(id, "-") && strcmp(part->collection, place[1].collection) == 0;
}

bool name_fits(const char *name, const struct name_part *parts, size_t n_parts)
{
    for (size_t i = 0; i < n_parts; i++) {
        size_t n = strlen(parts[i].collection);
        if (strncmp(name, parts[i].collection, n) != 0)
            return false;
        name += n;
        n = strcspn(name, "/");
        if (!name_id_fits(name, n, &parts[i]) || is_wildcard((struct str){name, n}, &parts[i]))
            return false;
        name += n;
    }
    return *name == '\0';
}

int check_project_name(const char *name, const char *field, struct err *e)
{
    return name_fits(name, place, 1) ? 0
                                     : err_set(e, ERR_INVALID_ARGUMENT, "%s: \"%.200s\" is not of the form projects/PROJECT", field, name);
}

int check_location_name(const char *name, const char *field, struct err *e)
{
    static const char all[] = "/locations/-";
    size_t n = strlen(name);
    if (name_fits(name, place, 2))
        return 0;
    if (n > strlen(all) && strcmp(name + n - strlen(all), all) == 0) /* Google's words */
        return err_set(e, ERR_INVALID_ARGUMENT, "%s: Location '-' is not a valid location. Use ListLocations to list valid locations.",
                       field);
    return err_set(e, ERR_INVALID_ARGUMENT, "%s: \"%.200s\" is not of the form projects/PROJECT/locations/LOCATION", field, name);
}
