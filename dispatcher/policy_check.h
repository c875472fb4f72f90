/** policy_check.h: what an IAM policy may say. Pure.
 *  Errors: INVALID_ARGUMENT naming the field, e.g. `policy.bindings[0].members[2]`.
 *  Thread: any; nothing is kept. Names are slices of what was given.
 *  Source: google/iam/v1/policy.proto; limits as IAM's quotas page states them. */
#ifndef DISPATCHER_POLICY_CHECK_H
#define DISPATCHER_POLICY_CHECK_H

#include "core/base/buf.h"
#include "core/rpc/iam.pb-c.h"

#define POLICY_MEMBERS_MAX 1500 /* in all bindings together */
#define POLICY_MEMBER_LEN_MAX 512
#define POLICY_ROLE_LEN_MAX 256
#define POLICY_PERMISSIONS_MAX 100

MUST_USE int policy_check(const Google__Iam__V1__SetIamPolicyRequest *r, struct err *e);
MUST_USE int policy_check_permissions(const Google__Iam__V1__TestIamPermissionsRequest *r, struct err *e);

/* Who may call a service, as its policy says. */
enum member_kind { MEMBER_OTHER, MEMBER_ALL, MEMBER_ALL_AUTHENTICATED, MEMBER_ACCOUNT, MEMBER_DOMAIN };
/** `name` becomes the email or the domain. MEMBER_OTHER: well-formed, but nobody here (groups, principals). */
enum member_kind policy_member(const char *member, struct str *name);
/** Does this role let call a service, or run a job? */
bool policy_role_invokes(const char *role);
/** May this account, known to be who it says? NULL: nobody may. */
bool policy_invokes(const Google__Iam__V1__Policy *p, const char *email);

#endif
