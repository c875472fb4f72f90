/** name.h: full names of resources, collection by collection: projects/P/locations/L/queues/Q.
 *  Rules:  the location "-", elsewhere all locations at once, is none: a list is of one location.
 *  Errors: INVALID_ARGUMENT naming the field and the form that is needed.
 *  Thread: any; pure. */
#ifndef CORE_RPC_NAME_H
#define CORE_RPC_NAME_H

#include "core/base/err.h"

/* A part of a name: the collection with its slashes, how long the id may be, and what it may hold besides letters and digits. */
struct name_part {
    const char *collection;
    size_t id_max;
    const char *more;
};
#define NAME_PROJECT              \
    {                             \
        "projects/", 100, "-_.:~" \
    }
#define NAME_LOCATION          \
    {                          \
        "/locations/", 63, "-" \
    }

bool name_id_fits(const char *id, size_t n, const struct name_part *part);
/** Is `name` made of exactly these parts? */
bool name_fits(const char *name, const struct name_part *parts, size_t n_parts);
MUST_USE int check_project_name(const char *name, const char *field, struct err *e);
MUST_USE int check_location_name(const char *name, const char *field, struct err *e);

#endif
