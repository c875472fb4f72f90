/** text.h: base64, percent-encoding, hashes of names, JSON string escapes: the small conversions everybody needs.
 *  Errors: INVALID_ARGUMENT for what is malformed; RESOURCE_EXHAUSTED when the buffer is full, which is then as before.
 *  Thread: any; nothing is kept. */
#ifndef CORE_BASE_TEXT_H
#define CORE_BASE_TEXT_H

#include "core/base/buf.h"

/** Standard base64 with padding, appended to `b`. */
MUST_USE int base64_add(struct buf *b, const void *data, size_t n);
/** URL-safe base64 without padding (JWT, RFC 7515). */
MUST_USE int base64url_add(struct buf *b, const void *data, size_t n);
#define BASE64_DECODED_MAX(n) ((n) / 4 * 3 + 3)
/** Decode standard or URL-safe, padded or not, into `out` (BASE64_DECODED_MAX(n) bytes). INVALID_ARGUMENT on anything else.
 *  `out` may be `in`. Bits left over in the last letter are ignored, as Google's decoders do. */
MUST_USE int base64_decode(const char *in, size_t n, void *out, size_t *out_len, struct err *e);
/** Percent-decode in place; `plus` also turns + into a space. Returns the new length, or -INVALID_ARGUMENT and changes
 *  nothing. A decoded byte may be 0: use the length. */
int percent_decode(char *s, size_t n, bool plus);
MUST_USE int percent_add(struct buf *b, struct str s); /* unreserved kept, the rest %XX */
/** `s` as a JSON string with quotes. Invalid UTF-8 becomes U+FFFD. */
MUST_USE int json_string_add(struct buf *b, struct str s);
#define JSON_ESCAPE_MAX 6
/** The first character of `s` (n > 0) as it stands inside a JSON string; returns how many bytes of `s` it took. */
size_t json_escape_next(const char *s, size_t n, char out[JSON_ESCAPE_MAX], size_t *out_len);
bool utf8_valid(const char *s, size_t n);
#define UTF8_BAD UINT32_MAX
/** The first character of `s` (n > 0) into `code`; returns its length. A bad sequence gives UTF8_BAD and the bytes to skip. */
size_t utf8_next(const char *s, size_t n, uint32_t *code);
uint64_t hash_bytes(const void *data, size_t n, uint64_t seed); /* FNV-1a 64 with a final mix; not for adversaries' tables */
/** Unsigned decimal, whole string, at most `max`. */
MUST_USE int parse_u64(struct str s, uint64_t max, uint64_t *out, struct err *e);

#endif
