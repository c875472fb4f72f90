/* name.c: are these the parts of that name? */
#include "core/rpc/name.h"

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

bool name_fits(const char *name, const struct name_part *parts, size_t n_parts)
{
    for (size_t i = 0; i < n_parts; i++) {
        size_t n = strlen(parts[i].collection);
        if (strncmp(name, parts[i].collection, n) != 0)
            return false;
        name += n;
        n = strcspn(name, "/");
        if (!name_id_fits(name, n, &parts[i]))
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
    return name_fits(name, place, 2)
               ? 0
               : err_set(e, ERR_INVALID_ARGUMENT, "%s: \"%.200s\" is not of the form projects/PROJECT/locations/LOCATION", field, name);
}
