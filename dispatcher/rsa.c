/* rsa.c: the OpenSSL adapter; no other file includes its headers. */
#include "dispatcher/rsa.h"

#include "core/base/text.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <stdio.h>

/* A struct rsa_key is an EVP_PKEY under our name: OpenSSL counts its references atomically. */
static EVP_PKEY *evp(const struct rsa_key *k) { return (EVP_PKEY *)(uintptr_t)k; }
static struct rsa_key *key_of(EVP_PKEY *p) { return (struct rsa_key *)p; }

static int fail(struct err *e, const char *what)
{
    char reason[160];
    unsigned long code = ERR_get_error();
    ERR_error_string_n(code, reason, sizeof reason);
    ERR_clear_error();
    return err_set(e, ERR_INTERNAL, "%s: %s", what, code ? reason : "no reason given");
}

struct rsa_key *rsa_generate(struct err *e)
{
    EVP_PKEY *p = EVP_RSA_gen(RSA_BITS);
    if (!p)
        fail(e, "cannot make an RSA key");
    return key_of(p);
}

/* Without it OpenSSL asks the terminal for the password of an encrypted key. */
static int no_password(char *buf, int size, int rw, void *arg) { return -1; }

struct rsa_key *rsa_from_pem(struct str pem, struct err *e)
{
    BIO *in = pem.n <= RSA_PEM_MAX ? BIO_new_mem_buf(pem.p, (int)pem.n) : NULL;
    EVP_PKEY *p = NULL;
    if (in) {
        p = PEM_read_bio_PrivateKey(in, NULL, no_password, NULL);
        if (!p && BIO_reset(in) == 1)
            p = PEM_read_bio_PUBKEY(in, NULL, no_password, NULL);
        BIO_free(in);
    }
    if (p && (!EVP_PKEY_is_a(p, "RSA") || EVP_PKEY_get_bits(p) != RSA_BITS)) {
        EVP_PKEY_free(p);
        p = NULL;
    }
    ERR_clear_error();
    if (!p)
        err_set(e, ERR_INVALID_ARGUMENT, "not an RSA key of %d bits in PEM", RSA_BITS);
    return key_of(p);
}

struct rsa_key *rsa_ref(struct rsa_key *k)
{
    EVP_PKEY_up_ref(evp(k));
    return k;
}

void rsa_unref(struct rsa_key *k) { EVP_PKEY_free(evp(k)); }

int rsa_sign(const struct rsa_key *k, struct str text, uint8_t signature[RSA_SIGNATURE_BYTES], struct err *e)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    size_t n = RSA_SIGNATURE_BYTES;
    bool ok = ctx && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, evp(k)) == 1 &&
              EVP_DigestSign(ctx, signature, &n, (const unsigned char *)text.p, text.n) == 1 && n == RSA_SIGNATURE_BYTES;
    EVP_MD_CTX_free(ctx);
    return ok ? 0 : fail(e, "cannot sign");
}

bool rsa_verify(const struct rsa_key *k, struct str text, struct str signature)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx && EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, evp(k)) == 1 &&
              EVP_DigestVerify(ctx, (const unsigned char *)signature.p, signature.n, (const unsigned char *)text.p, text.n) == 1;
    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    return ok;
}

int rsa_kid(const struct rsa_key *k, char out[RSA_KID_LEN + 1], struct err *e)
{
    unsigned char *der = NULL;
    int n = i2d_PUBKEY(evp(k), &der);
    if (n <= 0)
        return fail(e, "cannot name a key");
    unsigned char digest[SHA256_DIGEST_LENGTH];
    SHA256(der, (size_t)n, digest);
    OPENSSL_free(der);
    for (size_t i = 0; i < RSA_KID_LEN / 2; i++)
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
    return 0;
}

static int pem_add(const struct rsa_key *k, bool private, struct buf *b, struct err *e)
{
    BIO *out = BIO_new(BIO_s_mem());
    if (!out)
        return fail(e, "cannot write a key");
    int ok = private ? PEM_write_bio_PKCS8PrivateKey(out, evp(k), NULL, NULL, 0, NULL, NULL) : PEM_write_bio_PUBKEY(out, evp(k));
    char *text = NULL;
    long n = BIO_get_mem_data(out, &text);
    int rc = 0;
    if (ok != 1)
        rc = fail(e, "cannot write a key");
    else if (buf_add(b, text, (size_t)n))
        rc = err_set(e, ERR_RESOURCE_EXHAUSTED, "no room for a key");
    if (private && n > 0)
        OPENSSL_cleanse(text, (size_t)n);
    BIO_free(out);
    return rc;
}

int rsa_private_pem_add(const struct rsa_key *k, struct buf *b, struct err *e) { return pem_add(k, true, b, e); }
int rsa_public_pem_add(const struct rsa_key *k, struct buf *b, struct err *e) { return pem_add(k, false, b, e); }

static int number_add(const struct rsa_key *k, const char *which, struct buf *b, struct err *e)
{
    BIGNUM *number = NULL;
    unsigned char bytes[RSA_SIGNATURE_BYTES];
    if (EVP_PKEY_get_bn_param(evp(k), which, &number) != 1)
        return fail(e, "cannot read a key");
    int rc = 0;
    if (BN_num_bytes(number) > (int)sizeof bytes)
        rc = err_set(e, ERR_INTERNAL, "a key's number is too long");
    else if (base64url_add(b, bytes, (size_t)BN_bn2bin(number, bytes)))
        rc = err_set(e, ERR_RESOURCE_EXHAUSTED, "no room for a key");
    BN_free(number);
    return rc;
}

int rsa_n_add(const struct rsa_key *k, struct buf *b, struct err *e) { return number_add(k, OSSL_PKEY_PARAM_RSA_N, b, e); }
int rsa_e_add(const struct rsa_key *k, struct buf *b, struct err *e) { return number_add(k, OSSL_PKEY_PARAM_RSA_E, b, e); }

int rsa_random(void *out, size_t n, struct err *e) { return RAND_bytes(out, (int)n) == 1 ? 0 : fail(e, "no random bytes"); }

bool rsa_same(struct str a, struct str b) { return a.n == b.n && CRYPTO_memcmp(a.p, b.p, a.n) == 0; }
