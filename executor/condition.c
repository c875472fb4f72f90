/** condition.c: conditions of services and revisions, built in arenas. */
#include "executor/executor_int.h"

RUN(Condition) * condition_new(struct arena *a, const struct env *env, const char *type, enum run_condition state, const char *message)
{
    RUN(Condition) *c = pb_new(a, RUN_DESC(condition));
    if (!c)
        return NULL;
    c->type = arena_strdup(a, type);
    c->state = (RUN(Condition__State))state;
    c->message = arena_strdup(a, message);
    c->last_transition_time = (Google__Protobuf__Timestamp *)pb_timestamp(a, env_wall(env));
    return c->type && c->message && c->last_transition_time ? c : NULL;
}

void condition_set(struct arena *a, RUN(Condition) * **list, size_t *n, RUN(Condition) * c)
{
    if (!c)
        return; /* out of memory: the old one stays, which the next change mends */
    for (size_t i = 0; i < *n; i++) {
        if (strcmp((*list)[i]->type, c->type) != 0)
            continue;
        if ((*list)[i]->state == c->state)
            c->last_transition_time = (*list)[i]->last_transition_time;
        (*list)[i] = c;
        return;
    }
    RUN(Condition) **grown = arena_alloc(a, (*n + 1) * sizeof *grown);
    if (!grown)
        return;
    for (size_t i = 0; i < *n; i++)
        grown[i] = (*list)[i];
    grown[(*n)++] = c;
    *list = grown;
}
