/* fuzz_token.c: bearer tokens that strangers bring. None that we did not sign passes; one that we signed passes only with our issuer, in
 * time and for a verified email, and says then exactly what was signed.
 * Input: the token; or, behind an `s`, two lines with the JSON of a header and of claims, which are signed. */
#include "core/base/text.h"
#include "core/rpc/json.h"
#include "core/rpc/pb.h"
#include "dispatcher/key_set.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/support.h"

#define ISSUER "http://issuer"

static struct rsa_key *key;
static struct key_set *keys;
static char kid[RSA_KID_LEN + 1];

static void setup(void)
{
    if (key)
        return;
    key = rsa_generate(NULL);
    FUZZ_MUST(key && rsa_kid(key, kid, NULL) == 0 && (keys = key_set_new(ISSUER, &key, 1, NULL)));
}

static bool inside(struct str all, struct str s) { return s.n == 0 || (s.p >= all.p && s.p + s.n <= all.p + all.n); }

static void check_split(struct str token)
{
    struct arena *a = arena_new(1 << 20);
    struct token_parts t;
    struct err e = {0};
    FUZZ_MUST(a);
    if (token_split(a, token, &t, &e) == 0) {
        FUZZ_CHECK(inside(token, t.signed_text) && t.header && t.claims && t.signature.n <= token.n, "a part outside of the token");
        FUZZ_CHECK(t.signed_text.n < token.n && token.p[t.signed_text.n] == '.', "what is signed does not end at a dot");
    } else {
        FUZZ_CHECK(e.code == ERR_UNAUTHENTICATED || e.code == ERR_RESOURCE_EXHAUSTED, "%s", e.msg);
    }
    arena_free(a);
}

/* A claim as the signer wrote it, read on its own. */
static void check_claims(struct str json, const struct token_claims *got)
{
    struct arena *a = arena_new(1 << 20);
    Runnel__Identity__TokenClaims *c = pb_new(a, &runnel__identity__token_claims__descriptor);
    FUZZ_MUST(c && json_decode(a, json, &c->base, NULL) == 0);
    FUZZ_CHECK(!strcmp(c->iss, ISSUER) && c->email_verified && *c->email, "it passed with issuer \"%s\", email \"%s\"", c->iss, c->email);
    FUZZ_CHECK(c->exp >= (FAKE_WALL_NS - TOKEN_SLACK_NS) / NS_PER_S && c->iat <= (FAKE_WALL_NS + TOKEN_SLACK_NS) / NS_PER_S,
               "it passed outside of its time");
    FUZZ_CHECK(!strcmp(got->email, c->email) && !strcmp(got->subject, c->sub) && !strcmp(got->audience, c->aud), "it says something else");
    arena_free(a);
}

static void check_signed(struct str header, struct str claims)
{
    struct buf b;
    struct err e = {0};
    struct token_claims got;
    uint8_t signature[RSA_SIGNATURE_BYTES];
    buf_init(&b, 64 * 1024);
    /* A header that is nothing but the kid's place stands for the right one. */
    char right[128];
    snprintf(right, sizeof right, "{\"alg\":\"RS256\",\"kid\":\"%s\"}", kid);
    FUZZ_MUST(base64url_add(&b, header.n ? header.p : right, header.n ? header.n : strlen(right)) == 0 && buf_addz(&b, ".") == 0 &&
              base64url_add(&b, claims.p, claims.n) == 0);
    FUZZ_MUST(rsa_sign(key, buf_str(&b), signature, NULL) == 0);
    FUZZ_MUST(buf_addz(&b, ".") == 0 && base64url_add(&b, signature, sizeof signature) == 0);
    if (identity_verify(keys, buf_str(&b), FAKE_WALL_NS, &got, &e) == 0) {
        check_claims(claims, &got);
        /* One bit of what is signed, and it is nobody's. */
        struct fuzz_dice dice = fuzz_dice_of(claims);
        size_t at = fuzz_roll(&dice, buf_len(&b) - sizeof signature * 4 / 3 - 2);
        ((char *)buf_data(&b))[at] ^= 1;
        FUZZ_CHECK(identity_verify(keys, buf_str(&b), FAKE_WALL_NS, &got, &e) != 0, "it passes with a bit turned over at %zu", at);
    }
    buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str in = fuzz_str(data, size);
    struct token_claims got;
    struct err e = {0};
    setup();
    if (in.n > 1 && in.p[0] == 's' && in.p[1] == '\n') {
        fuzz_line(&in);
        struct str header = fuzz_line(&in);
        check_signed(header, fuzz_line(&in));
        return 0;
    }
    char *exact = fuzz_exact(in);
    struct str token = {exact, in.n};
    check_split(token);
    FUZZ_CHECK(identity_verify(keys, token, FAKE_WALL_NS, &got, &e) != 0, "a token that nobody signed passes");
    free(exact);
    return 0;
}
