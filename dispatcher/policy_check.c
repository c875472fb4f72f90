/* policy_check.c: roles, members and permissions, letter by letter. */
#include "dispatcher/policy_check.h"

#include <ctype.h>

static bool all_of(struct str s, const char *marks)
{
    for (size_t i = 0; i < s.n; i++)
        if (!isalnum((unsigned char)s.p[i]) && !strchr(marks, s.p[i]))
            return false;
    return s.n > 0;
}

static bool starts(const char *text, const char *with, struct str *rest)
{
    size_t n = strlen(with);
    if (strncmp(text, with, n) != 0)
        return false;
    *rest = str_of(text + n);
    return true;
}

static bool email_valid(struct str s)
{
    const char *at = memchr(s.p, '@', s.n);
    if (!at || at == s.p || at == s.p + s.n - 1 || memchr(at + 1, '@', s.n - (size_t)(at + 1 - s.p)))
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] == 0x7f || strchr("\"(),:;<>[]\\", s.p[i]))
            return false;
    return true;
}

enum member_kind policy_member(const char *member, struct str *name)
{
    static const char *const accounts[] = {"user:", "serviceAccount:"};
    *name = (struct str){member, 0};
    if (strcmp(member, "allUsers") == 0)
        return MEMBER_ALL;
    if (strcmp(member, "allAuthenticatedUsers") == 0)
        return MEMBER_ALL_AUTHENTICATED;
    for (size_t i = 0; i < ARRAY_LEN(accounts); i++)
        if (starts(member, accounts[i], name))
            return MEMBER_ACCOUNT;
    return starts(member, "domain:", name) ? MEMBER_DOMAIN : MEMBER_OTHER;
}

static bool member_valid(const char *member)
{
    static const char *const opaque[] = {
        "principal://", "principalSet://", "deleted:", "projectOwner:", "projectEditor:", "projectViewer:"};
    struct str name;
    switch (policy_member(member, &name)) {
    case MEMBER_ALL:
    case MEMBER_ALL_AUTHENTICATED:
        return true;
    case MEMBER_ACCOUNT:
        return email_valid(name);
    case MEMBER_DOMAIN:
        return all_of(name, "-.") && memchr(name.p, '.', name.n);
    case MEMBER_OTHER:
        break;
    }
    if (starts(member, "group:", &name))
        return email_valid(name);
    for (size_t i = 0; i < ARRAY_LEN(opaque); i++)
        if (starts(member, opaque[i], &name))
            return name.n > 0;
    return false;
}

bool policy_role_invokes(const char *role)
{
    static const char *const roles[] = {"roles/run.invoker", "roles/run.servicesInvoker", "roles/run.admin", "roles/owner"};
    for (size_t i = 0; i < ARRAY_LEN(roles); i++)
        if (strcmp(role, roles[i]) == 0)
            return true;
    return false;
}

static bool is_member(const char *member, const char *email)
{
    struct str name;
    const char *domain = strrchr(email, '@');
    switch (policy_member(member, &name)) {
    case MEMBER_ALL:
    case MEMBER_ALL_AUTHENTICATED:
        return true;
    case MEMBER_ACCOUNT:
        return str_ieq(name, str_of(email));
    case MEMBER_DOMAIN:
        return domain && str_ieq(name, str_of(domain + 1));
    case MEMBER_OTHER:
        break;
    }
    return false;
}

bool policy_invokes(const Google__Iam__V1__Policy *p, const char *email)
{
    for (size_t i = 0; p && i < p->n_bindings; i++)
        for (size_t m = 0; policy_role_invokes(p->bindings[i]->role) && m < p->bindings[i]->n_members; m++)
            if (is_member(p->bindings[i]->members[m], email))
                return true;
    return false;
}

/* roles/NAME, projects/P/roles/NAME, organizations/O/roles/NAME */
static bool role_valid(const char *role)
{
    struct str rest;
    if (strlen(role) > POLICY_ROLE_LEN_MAX)
        return false;
    if (starts(role, "roles/", &rest))
        return all_of(rest, "._");
    if (!starts(role, "projects/", &rest) && !starts(role, "organizations/", &rest))
        return false;
    const char *slash = memchr(rest.p, '/', rest.n);
    return slash && all_of((struct str){rest.p, (size_t)(slash - rest.p)}, "-.:") && starts(slash, "/roles/", &rest) && all_of(rest, "._");
}

static int check_binding(const Google__Iam__V1__Binding *b, size_t i, size_t *members, struct err *e)
{
    if (!role_valid(b->role))
        return err_set(e, ERR_INVALID_ARGUMENT, "policy.bindings[%zu].role: \"%.80s\" is not a role; write e.g. roles/run.invoker", i,
                       b->role);
    if (b->condition && (*b->condition->expression || *b->condition->title))
        return err_set(e, ERR_INVALID_ARGUMENT, "policy.bindings[%zu].condition: conditions are not supported; leave it out", i);
    if (b->n_members == 0)
        return err_set(e, ERR_INVALID_ARGUMENT, "policy.bindings[%zu].members: a binding needs at least one member", i);
    for (size_t m = 0; m < b->n_members; m++) {
        if (strlen(b->members[m]) > POLICY_MEMBER_LEN_MAX || !member_valid(b->members[m]))
            return err_set(e, ERR_INVALID_ARGUMENT,
                           "policy.bindings[%zu].members[%zu]: \"%.80s\" is not a member; write allUsers, allAuthenticatedUsers, "
                           "user:EMAIL, serviceAccount:EMAIL, group:EMAIL or domain:NAME",
                           i, m, b->members[m]);
        if (++*members > POLICY_MEMBERS_MAX)
            return err_set(e, ERR_INVALID_ARGUMENT, "policy: more than %d members", POLICY_MEMBERS_MAX);
    }
    return 0;
}

static int check_mask(const Google__Protobuf__FieldMask *mask, struct err *e)
{
    for (size_t i = 0; mask && i < mask->n_paths; i++)
        if (strcmp(mask->paths[i], "bindings") && strcmp(mask->paths[i], "etag") && strcmp(mask->paths[i], "version"))
            return err_set(e, ERR_INVALID_ARGUMENT, "updateMask: \"%.80s\" cannot be changed; bindings and etag can", mask->paths[i]);
    return 0;
}

int policy_check(const Google__Iam__V1__SetIamPolicyRequest *r, struct err *e)
{
    size_t members = 0;
    if (!r->policy)
        return err_set(e, ERR_INVALID_ARGUMENT, "policy: missing");
    int rc = check_mask(r->update_mask, e);
    if (!rc && r->policy->version != 0 && r->policy->version != 1 && r->policy->version != 3)
        rc = err_set(e, ERR_INVALID_ARGUMENT, "policy.version: %d is not one of 0, 1, 3", r->policy->version);
    for (size_t i = 0; i < r->policy->n_bindings && !rc; i++)
        rc = check_binding(r->policy->bindings[i], i, &members, e);
    return rc;
}

int policy_check_permissions(const Google__Iam__V1__TestIamPermissionsRequest *r, struct err *e)
{
    if (r->n_permissions > POLICY_PERMISSIONS_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "permissions: more than %d", POLICY_PERMISSIONS_MAX);
    for (size_t i = 0; i < r->n_permissions; i++) {
        struct str p = str_of(r->permissions[i]);
        if (!all_of(p, ".") || !memchr(p.p, '.', p.n)) /* wildcards are refused, as Google does */
            return err_set(e, ERR_INVALID_ARGUMENT, "permissions[%zu]: \"%.80s\" is not a permission; write e.g. run.routes.invoke", i,
                           r->permissions[i]);
    }
    return 0;
}
