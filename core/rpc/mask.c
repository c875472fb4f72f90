/** mask.c: field masks: check, apply, ask. */
#include "core/rpc/mask.h"

#include "core/rpc/pb.h"

#include <assert.h>

/* The next step of a path: up to the dot. False at the end. */
static bool next_step(struct str *path, struct str *step)
{
    if (!path->p)
        return false;
    const char *dot = memchr(path->p, '.', path->n);
    step->p = path->p;
    step->n = dot ? (size_t)(dot - path->p) : path->n;
    *path = dot ? (struct str){dot + 1, path->n - step->n - 1} : (struct str){NULL, 0};
    return true;
}

static int check_path(const ProtobufCMessageDescriptor *d, const char *text, struct err *e)
{
    struct str path = str_of(text), step;
    while (next_step(&path, &step)) {
        const ProtobufCFieldDescriptor *f = pb_field_find(d, step);
        if (!f)
            return err_set(e, ERR_INVALID_ARGUMENT, "updateMask: \"%.100s\" is not a field of %s", text, d->short_name);
        if (!path.p)
            return 0;
        if (f->label == PROTOBUF_C_LABEL_REPEATED || f->type != PROTOBUF_C_TYPE_MESSAGE)
            return err_set(e, ERR_INVALID_ARGUMENT, "updateMask: \"%.100s\": `%s` can only be named whole", text, f->name);
        d = f->descriptor;
    }
    return 0;
}

/* The message of `f` in `m`, or NULL. */
static ProtobufCMessage *inner(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    return pb_field_is_set(m, f) ? *(ProtobufCMessage **)pb_member(m, f) : NULL;
}

/* What is not there in `from` is cleared in `to`; nothing is made in `to` only to be empty. */
static int apply_path(struct arena *a, ProtobufCMessage *to, const ProtobufCMessage *from, const char *text, struct err *e)
{
    struct str path = str_of(text), step;
    while (next_step(&path, &step)) {
        const ProtobufCFieldDescriptor *f = pb_field_find(to->descriptor, step);
        if (!path.p)
            return pb_field_copy(a, to, from, f, e);
        const ProtobufCMessage *from_inner = inner(from, f);
        ProtobufCMessage *to_inner = inner(to, f);
        if (!from_inner && !to_inner)
            return 0;
        if (!from_inner)
            from_inner = pb_new(a, f->descriptor);
        bool fresh = !to_inner;
        if (fresh)
            to_inner = pb_new(a, f->descriptor);
        if (!from_inner || !to_inner)
            return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory applying the update mask");
        *(ProtobufCMessage **)pb_member(to, f) = to_inner;
        if (fresh && (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF))
            *pb_case(to, f) = f->id;
        to = to_inner;
        from = from_inner;
    }
    return 0;
}

static int copy_fields(struct arena *a, ProtobufCMessage *to, const ProtobufCMessage *from, bool only_set, struct err *e)
{
    for (unsigned i = 0; i < to->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &to->descriptor->fields[i];
        if (only_set && !pb_field_is_set(from, f))
            continue;
        int rc = pb_field_copy(a, to, from, f, e);
        if (rc)
            return rc;
    }
    return 0;
}

int mask_apply(struct arena *a, ProtobufCMessage *to, const ProtobufCMessage *from, char **paths, size_t n, bool all_when_empty,
               struct err *e)
{
    assert(to->descriptor == from->descriptor);
    if (n == 0)
        return all_when_empty ? copy_fields(a, to, from, true, e) : 0;
    for (size_t i = 0; i < n; i++) {
        int rc = strcmp(paths[i], "*") ? check_path(to->descriptor, paths[i], e) : 0;
        if (rc)
            return rc;
    }
    for (size_t i = 0; i < n; i++) {
        int rc = strcmp(paths[i], "*") ? apply_path(a, to, from, paths[i], e) : copy_fields(a, to, from, false, e);
        if (rc)
            return rc;
    }
    return 0;
}

/* Does mask path `m` name `path` or a parent of it? `m` may be in lowerCamelCase. */
static bool names(const char *m, const char *path)
{
    for (; *m; m++) {
        if (*m >= 'A' && *m <= 'Z') {
            if (path[0] != '_' || path[1] != *m - 'A' + 'a')
                return false;
            path += 2;
        } else if (*m != *path++) {
            return false;
        }
    }
    return *path == '\0' || *path == '.';
}

bool mask_has(char **paths, size_t n, const char *path)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(paths[i], "*") || names(paths[i], path))
            return true;
    return false;
}
