/** page.c: page sizes and tokens. A token is base64url of 8 bytes of hash over list and name, and the name. */
#include "core/rpc/page.h"

#include "core/base/text.h"

#define PAGE_TOKEN_SEED UINT64_C(0x72756e6e656c7031) /* another number makes old tokens invalid */
#define PAGE_TOKEN_MAX 4096

/* Not secret: it tells a token of another list, or a torn one, from ours. */
static uint64_t check_value(const char *list, struct str name)
{
    return hash_bytes(name.p, name.n, hash_bytes(list, strlen(list), PAGE_TOKEN_SEED));
}

int page_open(struct arena *a, int32_t size, const char *token, const char *list, struct page *p, struct err *e)
{
    if (size < 0)
        return err_set(e, ERR_INVALID_ARGUMENT, "pageSize: %d is negative; 0 means %d", size, PAGE_SIZE_DEFAULT);
    *p = (struct page){.size = size == 0 ? PAGE_SIZE_DEFAULT : size > PAGE_SIZE_MAX ? PAGE_SIZE_MAX : (size_t)size, .after = ""};
    size_t n = token ? strlen(token) : 0, len = 0;
    if (n == 0)
        return 0;
    char *bytes = n <= PAGE_TOKEN_MAX ? arena_alloc(a, BASE64_DECODED_MAX(n) + 1) : NULL;
    if (n <= PAGE_TOKEN_MAX && !bytes)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the page token");
    uint64_t check;
    if (!bytes || base64_decode(token, n, bytes, &len, NULL) || len <= sizeof check)
        return err_set(e, ERR_INVALID_ARGUMENT, "pageToken: not a token of this list; start again without one");
    memcpy(&check, bytes, sizeof check);
    struct str name = {bytes + sizeof check, len - sizeof check};
    if (check != check_value(list, name) || memchr(name.p, 0, name.n))
        return err_set(e, ERR_INVALID_ARGUMENT, "pageToken: not a token of this list; start again without one");
    p->after = arena_dup(a, name);
    return p->after ? 0 : err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the page token");
}

char *page_token(struct arena *a, const char *list, const char *last_name)
{
    uint64_t check = check_value(list, str_of(last_name));
    struct buf raw, text;
    buf_init(&raw, PAGE_TOKEN_MAX / 4 * 3);
    buf_init(&text, PAGE_TOKEN_MAX);
    char *token = NULL;
    if (!buf_add(&raw, &check, sizeof check) && !buf_addz(&raw, last_name) && !base64url_add(&text, buf_data(&raw), buf_len(&raw)))
        token = arena_dup(a, buf_str(&text));
    buf_fini(&raw);
    buf_fini(&text);
    return token;
}
