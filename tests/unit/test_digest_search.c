#include "config.h"

#include "cache/digest_search.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/unit.h"

#define A8 "aaaaaaaa"
#define HEX256 A8 A8 A8 A8 A8 A8 A8 "01234567"
#define HEX512 HEX256 A8 A8 A8 A8 A8 A8 A8 "89abcdef"

static void on_found(void *arg, const struct digest *d)
{
    char text[DIGEST_TEXT_SIZE];

    digest_format(d, text);
    strcat(strcat(arg, text), " ");
}

static void test_texts(void **state)
{
    static const struct {
        const char *text, *want;
    } ROWS[] = {
        {"", ""},
        {"sha256:", ""},
        {"sha256:" HEX256, "sha256:" HEX256 " "},
        {"sha512:" HEX512, "sha512:" HEX512 " "},
        {"sha512:" HEX256, ""},
        {"{\"digest\":\"sha256:" HEX256 "\",\"x\":\"sha512:" HEX512 "\"}",
         "sha256:" HEX256 " sha512:" HEX512 " "},
        {"sha256:" HEX256 "sha256:" HEX256, "sha256:" HEX256 " sha256:" HEX256 " "},
        {"ssha256:" HEX256, "sha256:" HEX256 " "},
        {"shasha256:" HEX256, "sha256:" HEX256 " "},
        {"sha256:aasha256:" HEX256, "sha256:" HEX256 " "},
        {"sha25sha512:" HEX512, "sha512:" HEX512 " "},
        {"SHA256:" HEX256, ""},
        {"sha256:A" HEX256, ""},
        {"sha256 " HEX256, ""},
        {"sha384:" HEX256, ""},
        {"sha256:" HEX256 "ff", "sha256:" HEX256 " "},
        /* JSON's escapes */
        {"sha256\\u003a" HEX256, "sha256:" HEX256 " "},
        {"sha256\\u003A" HEX256, "sha256:" HEX256 " "},
        {"\\u0073ha256:" HEX256, "sha256:" HEX256 " "},
        {"sha\\u0032\\u0035\\u0036:" HEX256, "sha256:" HEX256 " "},
        {"sha256\\u013a" HEX256, ""},
        {"\\nsha256:" HEX256, "sha256:" HEX256 " "},
        {"\\\\sha256:" HEX256, "sha256:" HEX256 " "},
        {"\\sha256:" HEX256, ""},
        {"sha\\/256:" HEX256, ""},
        /* what is none swallows nothing behind it */
        {"\\u00sha256:" HEX256, "sha256:" HEX256 " "},
        {"\\u\\u0073ha256:" HEX256, "sha256:" HEX256 " "},
        {"sha256:" HEX256 "\\", "sha256:" HEX256 " "},
    };
    char out[1000];

    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        size_t n = strlen(ROWS[i].text);
        for (size_t piece = 1; piece <= n + 1; piece++) {
            struct digest_search s;
            out[0] = '\0';
            digest_search_init(&s, on_found, out);
            for (size_t at = 0; at < n; at += piece)
                digest_search_feed(&s, ROWS[i].text + at, n - at < piece ? n - at : piece);
            if (strcmp(out, ROWS[i].want) != 0)
                fail_msg("row %zu in pieces of %zu: %s", i, piece, out);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
