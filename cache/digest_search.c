#include "config.h"

#include "cache/digest_search.h"

#include <string.h>

#include "base/check.h"

void digest_search_init(struct digest_search *s, digest_found_fn found, void *arg)
{
    memset(s, 0, sizeof(*s));
    s->found = found;
    s->arg = arg;
}

/* Whether the n bytes of text can be the beginning of a digest of this algorithm. */
static bool is_beginning(const struct digest_search *s, enum digest_alg alg)
{
    const char *name = digest_alg_name(alg);
    size_t n_name = strlen(name);
    char last = s->text[s->n - 1];

    if (s->n <= n_name)
        return memcmp(s->text, name, s->n) == 0;
    if (memcmp(s->text, name, n_name) != 0)
        return false;
    if (s->n == n_name + 1)
        return last == ':';
    return (last >= '0' && last <= '9') || (last >= 'a' && last <= 'f');
}

/* All but the last byte have been found to be a beginning already. */
static bool extend(struct digest_search *s)
{
    for (enum digest_alg alg = 0; alg < DIGEST_ALG_MAX; alg++) {
        struct digest d;
        if (!is_beginning(s, alg))
            continue;
        if (s->n == strlen(digest_alg_name(alg)) + 1 + 2 * digest_size(alg)) {
            CHECK(digest_parse((struct slice){s->text, s->n}, &d));
            s->found(s->arg, &d);
            s->n = 0;
        }
        return true;
    }
    return false;
}

static void take(struct digest_search *s, char c)
{
    if (s->n == 0 && c != 's')
        return;
    CHECK(s->n < sizeof(s->text) - 1);
    s->text[s->n++] = c;
    if (extend(s))
        return;
    /* The names of algorithms begin with their only "s", so nothing else can have begun inside. */
    s->n = c == 's';
    s->text[0] = c;
}

/* One byte of an escape. False when it is none of it. */
static bool take_escaped(struct digest_search *s, char c)
{
    int digit = slice_hex_digit(c);

    if (s->n_escape == 1) {
        /* No digest has a letter that needs one of the short ones. */
        if (c != 'u')
            take(s, '\0');
        s->n_escape = c == 'u' ? 2 : 0;
        s->code = 0;
        return true;
    }
    if (digit < 0) {
        take(s, '\0');
        s->n_escape = 0;
        return false;
    }
    s->code = s->code * 16 + (unsigned)digit;
    if (++s->n_escape == 6) {
        take(s, s->code < 128 ? (char)s->code : '\0');
        s->n_escape = 0;
    }
    return true;
}

void digest_search_feed(struct digest_search *s, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (s->n_escape > 0 && take_escaped(s, p[i]))
            continue;
        if (p[i] == '\\')
            s->n_escape = 1;
        else
            take(s, p[i]);
    }
}
