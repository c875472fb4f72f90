/** test_text.c: base64, percent-encoding, JSON strings, UTF-8, numbers. */
#include "tests/support/unit.h"

#include "core/base/text.h"

static struct str text_of(struct buf *b) { return buf_str(b); }

static void base64_is_rfc_4648_s(void **state)
{
    static const struct {
        const char *plain, *std, *url;
    } rows[] = {
        {"", "", ""},
        {"f", "Zg==", "Zg"},
        {"fo", "Zm8=", "Zm8"},
        {"foo", "Zm9v", "Zm9v"},
        {"foob", "Zm9vYg==", "Zm9vYg"},
        {"fooba", "Zm9vYmE=", "Zm9vYmE"},
        {"foobar", "Zm9vYmFy", "Zm9vYmFy"},
        {"\xFB\xFF\xFE", "+//+", "-__-"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        size_t n = strlen(rows[i].plain);
        struct buf b;
        buf_init(&b, 100);
        assert_int_equal(base64_add(&b, rows[i].plain, n), 0);
        CASE_TRUE(rows[i].std, str_is(text_of(&b), rows[i].std));
        buf_clear(&b);
        assert_int_equal(base64url_add(&b, rows[i].plain, n), 0);
        CASE_TRUE(rows[i].url, str_is(text_of(&b), rows[i].url));
        buf_fini(&b);
        const char *const forms[] = {rows[i].std, rows[i].url};
        for (size_t f = 0; f < 2; f++) {
            char out[16];
            size_t len = 99;
            CASE_INT(forms[f], base64_decode(forms[f], strlen(forms[f]), out, &len, NULL), 0);
            CASE_TRUE(forms[f], str_eq((struct str){out, len}, str_of(rows[i].plain)));
        }
    }
}

static void base64_comes_back_whatever_the_bytes(void **state)
{
    struct rng r;
    rng_seed(&r, 4);
    for (size_t n = 0; n < 300; n++) {
        unsigned char data[300], back[BASE64_DECODED_MAX(400)];
        for (size_t i = 0; i < n; i++)
            data[i] = (unsigned char)rng_u64(&r);
        struct buf b;
        size_t len;
        buf_init(&b, 1000);
        assert_int_equal(n % 2 ? base64_add(&b, data, n) : base64url_add(&b, data, n), 0);
        assert_int_equal(base64_decode(buf_data(&b), buf_len(&b), back, &len, NULL), 0);
        assert_int_equal(len, n);
        assert_true(n == 0 || memcmp(back, data, n) == 0);
        if (n) { /* in place */
            assert_int_equal(base64_decode(buf_data(&b), buf_len(&b), buf_data(&b), &len, NULL), 0);
            assert_memory_equal(buf_data(&b), data, n);
        }
        buf_fini(&b);
    }
}

static void what_is_not_base64_is_refused(void **state)
{
    static const char *const bad[] = {"Z",        "Zm9vY", "Zg=",   "Zg===", "Z===",    "====",   "=",       "Zm=v",
                                      "Zg==Zg==", "Zm9 ",  "Zm\n9", "Zm9!",  "Zm9\xC3", "Zg==\n", "Zm9vYg=", "=Zm9"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char out[16] = "untouched";
        size_t len = 77;
        struct err e = {0};
        CASE_INT(bad[i], base64_decode(bad[i], strlen(bad[i]), out, &len, &e), -ERR_INVALID_ARGUMENT);
        CASE_STR(bad[i], out, "untouched");
        CASE_INT(bad[i], len, 77);
        CASE_TRUE(bad[i], strncmp(e.msg, "not base64", 10) == 0);
    }
}

static void percent_decoding_is_exact(void **state)
{
    static const struct {
        const char *in;
        bool plus;
        const char *out; /* NULL: refused */
    } rows[] = {
        {"", false, ""},
        {"plain", false, "plain"},
        {"a%20b", false, "a b"},
        {"%41%6a%6A", false, "Ajj"},
        {"a+b", false, "a+b"},
        {"a+b%2B", true, "a b+"},
        {"%2541", false, "%41"}, /* once only */
        {"%E2%82%AC", false, "\xE2\x82\xAC"},
        {"%", false, NULL},
        {"%4", false, NULL},
        {"ab%4", false, NULL},
        {"%4g", false, NULL},
        {"%g4", false, NULL},
        {"%%41", false, NULL},
        {"a%20b%", true, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char s[32];
        size_t n = strlen(rows[i].in);
        memcpy(s, rows[i].in, n + 1);
        int got = percent_decode(s, n, rows[i].plus);
        if (!rows[i].out) {
            CASE_INT(rows[i].in, got, -ERR_INVALID_ARGUMENT);
            CASE_STR(rows[i].in, s, rows[i].in);
            continue;
        }
        CASE_INT(rows[i].in, got, strlen(rows[i].out));
        CASE_TRUE(rows[i].in, memcmp(s, rows[i].out, (size_t)got) == 0);
    }
    for (size_t n = 1; n <= 2; n++) { /* nothing is read behind the end */
        char *exact = malloc(n);
        memcpy(exact, "%4", n);
        assert_int_equal(percent_decode(exact, n, false), -ERR_INVALID_ARGUMENT);
        free(exact);
    }
    char zero[] = "a%00b";
    assert_int_equal(percent_decode(zero, 5, false), 3);
    assert_memory_equal(zero, "a\0b", 3);
}

static void percent_encoding_keeps_only_the_unreserved(void **state)
{
    struct buf b;
    buf_init(&b, 2000);
    assert_int_equal(percent_add(&b, STR("az-AZ_09.~ /%+\xC3\xA4\0")), 0);
    assert_true(str_is(text_of(&b), "az-AZ_09.~%20%2F%25%2B%C3%A4%00"));
    buf_clear(&b);
    char all[256];
    for (int i = 0; i < 256; i++)
        all[i] = (char)i;
    assert_int_equal(percent_add(&b, (struct str){all, 256}), 0);
    assert_int_equal(percent_decode(buf_data(&b), buf_len(&b), false), 256);
    assert_memory_equal(buf_data(&b), all, 256);
    buf_fini(&b);
}

static void json_strings_are_escaped(void **state)
{
    static const struct {
        const char *name;
        struct str in;
        const char *out;
    } rows[] = {
        {"nothing", STR(""), "\"\""},
        {"plain text", STR("plain"), "\"plain\""},
        {"quotes and backslashes", STR("\"\\"), "\"\\\"\\\\\""},
        {"the short escapes", STR("\b\f\n\r\t"), "\"\\b\\f\\n\\r\\t\""},
        {"other controls", STR("\x01\x1f\x7f"), "\"\\u0001\\u001f\\u007f\""},
        {"a zero byte", STR("a\0b"), "\"a\\u0000b\""},
        {"other languages stay", STR("\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80"), "\"\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80\""},
        {"a stray byte",
         STR("a\xFF"
             "b"),
         "\"a\xEF\xBF\xBD"
         "b\""},
        {"a cut sequence", STR("a\xE2\x82"), "\"a\xEF\xBF\xBD\""},
        {"a surrogate", STR("\xED\xA0\x80"), "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf b;
        buf_init(&b, 100);
        CASE_INT(rows[i].name, json_string_add(&b, rows[i].in), 0);
        CASE_STR(rows[i].name, buf_cstr(&b), rows[i].out);
        buf_fini(&b);
    }
}

static void an_addition_that_does_not_fit_leaves_nothing_behind(void **state)
{
    struct buf b;
    buf_init(&b, 10);
    assert_int_equal(buf_addz(&b, "12345"), 0);
    assert_int_equal(json_string_add(&b, STR("\n\n")), -ERR_RESOURCE_EXHAUSTED);
    assert_int_equal(json_string_add(&b, STR("abcd")), -ERR_RESOURCE_EXHAUSTED);
    assert_int_equal(json_string_add(&b, STR("abcdefghi")), -ERR_RESOURCE_EXHAUSTED);
    assert_int_equal(percent_add(&b, STR("a  ")), -ERR_RESOURCE_EXHAUSTED);
    assert_int_equal(base64_add(&b, "abcd", 4), -ERR_RESOURCE_EXHAUSTED);
    assert_int_equal(base64url_add(&b, "abcd", 4), -ERR_RESOURCE_EXHAUSTED);
    assert_int_equal(base64_add(&b, "abcd", SIZE_MAX), -ERR_RESOURCE_EXHAUSTED);
    assert_true(str_is(text_of(&b), "12345"));
    assert_int_equal(json_string_add(&b, STR("abc")), 0);
    assert_true(str_is(text_of(&b), "12345\"abc\""));
    buf_fini(&b);
}

static void utf8_is_told_from_what_only_looks_like_it(void **state)
{
    static const struct {
        const char *name;
        struct str s;
        bool valid;
    } rows[] = {
        {"nothing", STR(""), true},
        {"ASCII with a zero", STR("a\0b"), true},
        {"the ends of two bytes", STR("\xC2\x80\xDF\xBF"), true},
        {"the ends of three bytes", STR("\xE0\xA0\x80\xEF\xBF\xBF"), true},
        {"around the surrogates", STR("\xED\x9F\xBF\xEE\x80\x80"), true},
        {"the ends of four bytes", STR("\xF0\x90\x80\x80\xF4\x8F\xBF\xBF"), true},
        {"a continuation alone", STR("\x80"), false},
        {"overlong in two bytes", STR("\xC0\x80"), false},
        {"overlong in two bytes, the last", STR("\xC1\xBF"), false},
        {"overlong in three bytes", STR("\xE0\x9F\xBF"), false},
        {"overlong in four bytes", STR("\xF0\x8F\xBF\xBF"), false},
        {"a surrogate", STR("\xED\xA0\x80"), false},
        {"above the last", STR("\xF4\x90\x80\x80"), false},
        {"a lead that never is", STR("\xF5\x80\x80\x80"), false},
        {"cut after one of two", STR("\xC3"), false},
        {"cut after two of three", STR("\xE2\x82"), false},
        {"cut after three of four", STR("\xF0\x9F\x98"), false},
        {"a letter where a continuation must be",
         STR("\xE2\x82"
             "a"),
         false},
        {"good, bad, good",
         STR("a\xFF"
             "b"),
         false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        CASE_INT(rows[i].name, utf8_valid(rows[i].s.p, rows[i].s.n), rows[i].valid);
    uint32_t code;
    assert_int_equal(utf8_next("\xE2\x82\xAC", 3, &code), 3);
    assert_int_equal(code, 0x20AC);
    assert_int_equal(utf8_next("\xF0\x9F\x98\x80", 4, &code), 4);
    assert_int_equal(code, 0x1F600);
    assert_int_equal(utf8_next("\xF0\x9F"
                               "a",
                               3, &code),
                     2); /* the letter is not swallowed */
    assert_int_equal(code, UTF8_BAD);
}

static void numbers_are_read_whole_or_refused(void **state)
{
    static const struct {
        const char *text;
        uint64_t max;
        int rc;
        uint64_t want;
    } rows[] = {
        {"0", 10, 0, 0},
        {"007", 10, 0, 7},
        {"10", 10, 0, 10},
        {"11", 10, -ERR_INVALID_ARGUMENT, 0},
        {"18446744073709551615", UINT64_MAX, 0, UINT64_MAX},
        {"18446744073709551616", UINT64_MAX, -ERR_INVALID_ARGUMENT, 0},
        {"184467440737095516150", UINT64_MAX, -ERR_INVALID_ARGUMENT, 0},
        {"99999999999999999999999999999999", UINT64_MAX, -ERR_INVALID_ARGUMENT, 0},
        {"", 10, -ERR_INVALID_ARGUMENT, 0},
        {"-1", 10, -ERR_INVALID_ARGUMENT, 0},
        {"+1", 10, -ERR_INVALID_ARGUMENT, 0},
        {" 1", 10, -ERR_INVALID_ARGUMENT, 0},
        {"1 ", 10, -ERR_INVALID_ARGUMENT, 0},
        {"1.0", 10, -ERR_INVALID_ARGUMENT, 0},
        {"0x1", 10, -ERR_INVALID_ARGUMENT, 0},
        {"one", 10, -ERR_INVALID_ARGUMENT, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint64_t out = 42;
        struct err e = {0};
        CASE_INT(rows[i].text, parse_u64(str_of(rows[i].text), rows[i].max, &out, &e), rows[i].rc);
        CASE_TRUE(rows[i].text, out == (rows[i].rc ? 42 : rows[i].want));
        CASE_INT(rows[i].text, e.msg[0] != '\0', rows[i].rc != 0);
    }
}

static void hashes_spread_and_depend_on_the_seed(void **state)
{
    size_t buckets[64] = {0};
    for (uint64_t i = 0; i < 64000; i++)
        buckets[hash_bytes(&i, sizeof i, 0) % 64]++;
    for (size_t i = 0; i < 64; i++)
        assert_in_range(buckets[i], 850, 1150);
    assert_true(hash_bytes("a", 1, 1) != hash_bytes("a", 1, 2));
    assert_true(hash_bytes("a", 1, 1) == hash_bytes("a", 1, 1));
    assert_true(hash_bytes("", 0, 0) == hash_bytes(NULL, 0, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64_is_rfc_4648_s),
        cmocka_unit_test(base64_comes_back_whatever_the_bytes),
        cmocka_unit_test(what_is_not_base64_is_refused),
        cmocka_unit_test(percent_decoding_is_exact),
        cmocka_unit_test(percent_encoding_keeps_only_the_unreserved),
        cmocka_unit_test(json_strings_are_escaped),
        cmocka_unit_test(an_addition_that_does_not_fit_leaves_nothing_behind),
        cmocka_unit_test(utf8_is_told_from_what_only_looks_like_it),
        cmocka_unit_test(numbers_are_read_whole_or_refused),
        cmocka_unit_test(hashes_spread_and_depend_on_the_seed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
