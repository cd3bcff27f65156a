#include "config.h"

#include "cache/referrers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/strbuf.h"
#include "cache/layout.h"
#include "cache/referrers_known.h"
#include "tests/unit/cache_place.h"
#include "tests/unit/unit.h"

#define REPO "library/busybox"
#define FOLDER "docker/registry/v2/repositories/" REPO "/"
#define IMAGE_TYPE "application/vnd.oci.image.manifest.v1+json"
#define INDEX_TYPE "application/vnd.oci.image.index.v1+json"
#define SOME_DIGEST "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
#define CONFIG                                                                                     \
    "\"config\":{\"mediaType\":\"application/vnd.x.config+json\",\"digest\":\"" SOME_DIGEST        \
    "\",\"size\":2}"

/* --- asking ----------------------------------------------------------------------------------- */

struct ask {
    struct place *place;
    struct referrers_query query;
    struct moment over;
    int rc;
    struct referrer_list *list;
    bool has_more, has_subject, has_kept;
    char kept[512];
    int64_t kept_at_s;
};

static void on_told(void *arg, int rc, const struct referrers_answer *answer)
{
    struct ask *a = arg;

    a->rc = rc;
    if (answer) {
        a->list = answer->list;
        a->has_more = answer->has_more;
        a->has_subject = answer->has_subject;
        a->has_kept = answer->has_kept;
        a->kept_at_s = answer->kept.fetched_at_s;
        snprintf(a->kept, sizeof(a->kept), "%.*s", SLICE_ARG(answer->kept.body));
    }
    moment_come(&a->over);
}

static void do_ask(void *arg)
{
    struct ask *a = arg;

    referrers_list(cache_referrers(a->place->cache), &a->query, on_told, a);
}

static struct ask ask_for(struct place *p, const struct digest *subject)
{
    return (struct ask){.place = p,
                        .query = {.repo = SLICE(REPO),
                                  .subject = *subject,
                                  .n_max = 1000,
                                  .bytes_max = 1 << 20,
                                  .manifest_max_bytes = 1 << 20,
                                  .kept_max_bytes = 400}};
}

static void ask(struct ask *a, unsigned worker)
{
    referrer_list_free(&a->list);
    moment_init(&a->over);
    place_run(a->place, worker, do_ask, a);
    assert_true(moment_wait(&a->over));
    moment_fini(&a->over);
}

/* How many there are of the subject. */
static size_t count(struct place *p, const struct digest *subject)
{
    struct ask a = ask_for(p, subject);

    ask(&a, 0);
    assert_int_equal(a.rc, 0);
    size_t n = referrer_list_count(a.list);
    referrer_list_free(&a.list);
    return n;
}

/* --- what is in the storage ------------------------------------------------------------------- */

static const char *revision(struct place *p, const struct digest *d, const char *file)
{
    char hex[DIGEST_TEXT_SIZE];

    digest_hex(d, hex);
    return place_path(p, FOLDER "_manifests/revisions/%s/%s%s", digest_alg_name(d->alg), hex, file);
}

static void link_revision(struct place *p, const struct digest *d)
{
    char text[DIGEST_TEXT_SIZE];

    digest_format(d, text);
    place_write(p, revision(p, d, "/link"), text, strlen(text));
}

/* A manifest as another program would have put it there. */
static void put(struct place *p, enum digest_alg alg, const char *body, struct digest *d)
{
    digest_of(alg, body, strlen(body), d);
    place_write(p, place_blob(p, d), body, strlen(body));
    link_revision(p, d);
}

/* A referrer, told apart by its number. */
static void put_referrer(struct place *p, const struct digest *subject, unsigned n,
                         const char *more, struct digest *d)
{
    char text[DIGEST_TEXT_SIZE];

    digest_format(subject, text);
    char *body = xasprintf("{\"schemaVersion\":2,\"mediaType\":\"" IMAGE_TYPE "\"," CONFIG
                           ",\"layers\":[],\"x\":%u,\"subject\":{\"mediaType\":\"" IMAGE_TYPE
                           "\",\"digest\":\"%s\",\"size\":3}%s}",
                           n, text, more);
    put(p, DIGEST_SHA256, body, d);
    free(body);
}

static const char *entry(struct place *p, const struct digest *subject, const struct digest *d)
{
    char hex[DIGEST_TEXT_SIZE], name[DIGEST_TEXT_SIZE];

    digest_hex(subject, hex);
    digest_hex(d, name);
    return place_path(p, FOLDER "_referrers/sha256/%s/sha256-%s.json", hex, name);
}

static struct digest subject_of(const char *text)
{
    struct digest d;

    digest_of(DIGEST_SHA256, text, strlen(text), &d);
    return d;
}

static void open_place(struct place *p)
{
    place_init(p);
    place_open(p);
}

static void close_place(struct place *p)
{
    place_close(p);
    place_fini(p);
}

/* --- tests ------------------------------------------------------------------------------------ */

/* Of a manifest whose subject is SUBJECT: what its descriptor says. */
static const struct {
    const char *name, *members, *type, *rest;
} manifest_rows[] = {
    {"an image", "\"mediaType\":\"" IMAGE_TYPE "\"," CONFIG, IMAGE_TYPE,
     ",\"artifactType\":\"application/vnd.x.config+json\""},
    {"an image that says its type",
     "\"mediaType\":\"" IMAGE_TYPE "\",\"artifactType\":\"a/b\"," CONFIG, IMAGE_TYPE,
     ",\"artifactType\":\"a/b\""},
    {"an image that says nothing", CONFIG ",\"layers\":[]", IMAGE_TYPE,
     ",\"artifactType\":\"application/vnd.x.config+json\""},
    {"an index", "\"mediaType\":\"" INDEX_TYPE "\",\"manifests\":[]", INDEX_TYPE, ""},
    {"an index that says its type",
     "\"mediaType\":\"" INDEX_TYPE "\",\"manifests\":[],\"artifactType\":\"c/d\"", INDEX_TYPE,
     ",\"artifactType\":\"c/d\""},
    {"annotations as they are",
     "\"mediaType\":\"" INDEX_TYPE
     "\",\"annotations\": {\"\\u00e4\" : \"\xc3\xa4\\n\", \"b\":\"\"}",
     INDEX_TYPE, ",\"annotations\":{\"\\u00e4\" : \"\xc3\xa4\\n\", \"b\":\"\"}"},
    {"annotations that are none",
     "\"mediaType\":\"" INDEX_TYPE "\",\"artifactType\":\"c/d\",\"annotations\":{\"a\":1}",
     INDEX_TYPE, ",\"artifactType\":\"c/d\""},
    {"annotations not in UTF-8",
     "\"mediaType\":\"" INDEX_TYPE "\",\"annotations\":{\"a\":\"\xe4\"}", INDEX_TYPE, ""},
    {"a type not in UTF-8",
     "\"mediaType\":\"" INDEX_TYPE "\",\"artifactType\":\"\xe4\",\"annotations\":{\"a\":\"b\"}",
     INDEX_TYPE, ""},
};

static void test_descriptors(void **state)
{
    struct place p;

    (void)state;
    open_place(&p);
    for (size_t i = 0; i < N_ROWS(manifest_rows); i++) {
        struct digest subject = subject_of(manifest_rows[i].name), d;
        char text[DIGEST_TEXT_SIZE], name[DIGEST_TEXT_SIZE];
        digest_format(&subject, text);
        char *body =
            xasprintf("{\"subject\":{\"digest\":\"%s\",\"size\":3,\"mediaType\":\"x/y\"},%s}", text,
                      manifest_rows[i].members);
        put(&p, i % 2 ? DIGEST_SHA512 : DIGEST_SHA256, body, &d);
        digest_format(&d, name);
        struct ask a = ask_for(&p, &subject);
        ask(&a, 0);
        if (a.rc != 0 || referrer_list_count(a.list) != 1)
            fail_msg("%s: %d", manifest_rows[i].name, a.rc);
        char *want = xasprintf("{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":%zu%s}",
                               manifest_rows[i].type, name, strlen(body), manifest_rows[i].rest);
        struct slice found = referrer_list_descriptor(a.list, 0);
        if (!slice_equal(found, slice_of(want)))
            fail_msg("%s: %.*s, not %s", manifest_rows[i].name, SLICE_ARG(found), want);
        assert_false(a.has_subject || a.has_kept || a.has_more);
        referrer_list_free(&a.list);
        free(want);
        free(body);
    }
    close_place(&p);
}

/* Questions about what is not there leave nothing behind. */
static void test_none(void **state)
{
    struct digest subject = subject_of("none"), d;
    struct place p;

    (void)state;
    open_place(&p);
    assert_int_equal(count(&p, &subject), 0);
    assert_false(place_has(&p, place_path(&p, FOLDER)));
    put(&p, DIGEST_SHA256, "{\"schemaVersion\":2,\"manifests\":[]}", &d);
    put(&p, DIGEST_SHA256, "no JSON", &d);
    assert_int_equal(count(&p, &subject), 0);
    struct ask a = ask_for(&p, &d);
    ask(&a, 1);
    assert_true(a.has_subject);
    referrer_list_free(&a.list);
    close_place(&p);
}

/* What comes later is found, whatever its times say; what goes is left out at once. */
static void test_changes(void **state)
{
    struct digest subject = subject_of("changes"), other = subject_of("other"), d[3];
    struct place p;

    (void)state;
    open_place(&p);
    put_referrer(&p, &subject, 0, "", &d[0]);
    assert_int_equal(count(&p, &subject), 1);
    assert_int_equal(count(&p, &other), 0);
    put_referrer(&p, &subject, 1, "", &d[1]);
    put_referrer(&p, &other, 1, "", &d[2]);
    assert_int_equal(count(&p, &subject), 2);
    assert_int_equal(count(&p, &other), 1);
    place_reopen(&p);
    assert_int_equal(count(&p, &subject), 2);
    /* The link goes, and comes back. */
    assert_int_equal(unlink(revision(&p, &d[0], "/link")), 0);
    assert_int_equal(count(&p, &subject), 1);
    link_revision(&p, &d[0]);
    assert_int_equal(count(&p, &subject), 2);
    /* The blob goes. */
    assert_int_equal(unlink(place_blob(&p, &d[1])), 0);
    assert_int_equal(count(&p, &subject), 1);
    /* The revision goes for good: its entry is removed. */
    assert_true(place_has(&p, entry(&p, &subject, &d[0])));
    assert_int_equal(unlink(revision(&p, &d[0], "/link")), 0);
    assert_int_equal(rmdir(revision(&p, &d[0], "")), 0);
    assert_int_equal(count(&p, &subject), 0);
    assert_false(place_has(&p, entry(&p, &subject, &d[0])));
    put_referrer(&p, &subject, 0, "", &d[0]);
    assert_int_equal(count(&p, &subject), 1);
    close_place(&p);
}

/* A folder first, its link and its content later, as other programs may write. */
static void test_half_written(void **state)
{
    struct digest subject = subject_of("half"), d;
    struct place p;
    char body[1024];

    (void)state;
    open_place(&p);
    put_referrer(&p, &subject, 0, "", &d);
    long n = place_read(&p, place_blob(&p, &d), body, sizeof(body));
    assert_true(n > 10);
    assert_int_equal(unlink(revision(&p, &d, "/link")), 0);
    assert_int_equal(unlink(place_blob(&p, &d)), 0);
    assert_int_equal(count(&p, &subject), 0);
    place_write(&p, place_blob(&p, &d), body, 10);
    link_revision(&p, &d);
    assert_int_equal(count(&p, &subject), 0);
    place_write(&p, place_blob(&p, &d), body, (size_t)n);
    assert_int_equal(count(&p, &subject), 1);
    close_place(&p);
}

#define SECOND INT64_C(1000000000)

/* A folder that has not changed for long is not listed again until it looks different. */
static void test_settled(void **state)
{
    struct digest subject = subject_of("settled"), d[2];
    struct referrers_known known;
    struct place p;

    (void)state;
    open_place(&p);
    struct layout *l = layout_new(p.root);
    put_referrer(&p, &subject, 0, "", &d[0]);
    assert_int_equal(count(&p, &subject), 1);
    referrers_known_init(&known);
    referrers_known_load(&known, l, SLICE(REPO));
    assert_int_equal(known.n, 1);
    assert_true(referrers_known_has(&known, &d[0]));
    assert_true(known.looks[DIGEST_SHA256].inode > 0 && known.looks[DIGEST_SHA512].inode == 0);
    /* It is too young: in the same tick of the clock something else may come. */
    assert_false(known.is_settled);
    int64_t changed_ns = known.looks[DIGEST_SHA256].changed_ns;
    assert_false(referrers_known_can_settle(known.looks, changed_ns));
    assert_false(referrers_known_can_settle(known.looks, changed_ns + 2 * SECOND));
    assert_true(referrers_known_can_settle(known.looks, changed_ns + 4 * SECOND));
    assert_false(referrers_known_can_settle(known.looks, changed_ns - 4 * SECOND));
    /* As it would be after a while; that it is not listed shows in what is not found. */
    put_referrer(&p, &subject, 1, "", &d[1]);
    referrers_known_look(l, SLICE(REPO), known.looks);
    known.is_settled = true;
    assert_int_equal(referrers_known_store(&known, l, SLICE(REPO), NULL), 0);
    assert_int_equal(count(&p, &subject), 1);
    assert_int_equal(mkdir(revision(&p, &subject, ""), 0755), 0);
    assert_int_equal(count(&p, &subject), 2);
    referrers_known_fini(&known);
    layout_free(&l);
    close_place(&p);
}

static void test_damaged(void **state)
{
    static const char *const contents[] = {"",
                                           "x",
                                           "{}",
                                           "{}\n",
                                           "{\"subject\":\"sha256:00\",\"descriptor\":{}}\n",
                                           "mirrord referrers 1 1 9 9 9 9 9 9\n",
                                           "mirrord referrers 1 1 9 9\n0123456789abcdef"};
    struct digest subject = subject_of("damaged"), other = subject_of("elsewhere"), d[2];
    struct place p;

    (void)state;
    open_place(&p);
    put_referrer(&p, &subject, 0, "", &d[0]);
    put_referrer(&p, &subject, 1, "", &d[1]);
    assert_int_equal(count(&p, &subject), 2);
    for (size_t i = 0; i < N_ROWS(contents); i++) {
        const char *const paths[] = {entry(&p, &subject, &d[0]),
                                     place_path(&p, FOLDER "_referrers/known")};
        for (size_t j = 0; j < N_ROWS(paths); j++) {
            place_write(&p, paths[j], contents[i], strlen(contents[i]));
            if (count(&p, &subject) != 2)
                fail_msg("row %zu, file %zu", i, j);
        }
    }
    /* The entry of another subject, in this one's folder: not believed, and removed. */
    char text[2048];
    long n = place_read(&p, entry(&p, &subject, &d[0]), text, sizeof(text));
    assert_true(n > 0);
    place_write(&p, entry(&p, &other, &d[0]), text, (size_t)n);
    assert_int_equal(count(&p, &other), 0);
    assert_false(place_has(&p, entry(&p, &other, &d[0])));
    /* Foreign files. */
    place_write(&p, place_path(&p, FOLDER "_referrers/sha256/x"), "y", 1);
    place_write(&p, place_path(&p, FOLDER "_manifests/revisions/sha256/nobody/link"), "y", 1);
    place_write(&p, place_path(&p, FOLDER "_manifests/revisions/.x"), "y", 1);
    assert_int_equal(count(&p, &subject), 2);
    close_place(&p);
}

static void test_wiped(void **state)
{
    struct digest subject = subject_of("wiped"), d;
    struct place p;
    char command[256];

    (void)state;
    open_place(&p);
    put_referrer(&p, &subject, 0, "", &d);
    assert_int_equal(count(&p, &subject), 1);
    snprintf(command, sizeof(command), "rm -r '%s'", place_path(&p, FOLDER "_referrers"));
    assert_int_equal(system(command), 0);
    assert_int_equal(count(&p, &subject), 1);
    close_place(&p);
}

#define N_MANY 700 /* more than one step of anything */

static void test_pages(void **state)
{
    struct digest subject = subject_of("pages"), d;
    struct place p;
    size_t n = 0, n_pages = 0;

    (void)state;
    open_place(&p);
    for (unsigned i = 0; i < N_MANY; i++)
        put_referrer(&p, &subject, i, i % 7 ? "" : ",\"artifactType\":\"sev\\u0065n\"", &d);
    struct ask a = ask_for(&p, &subject);
    a.query.n_max = 100;
    do {
        struct digest last = a.query.last;
        bool has_last = a.query.has_last;
        ask(&a, 0);
        assert_int_equal(a.rc, 0);
        size_t n_here = referrer_list_count(a.list);
        assert_true(n_here > 0 && n_here <= 100);
        if (has_last)
            assert_true(referrer_list_compare(&last, referrer_list_digest(a.list, 0)) < 0);
        a.query.has_last = true;
        a.query.last = *referrer_list_digest(a.list, n_here - 1);
        n += n_here;
        n_pages++;
    } while (a.has_more);
    assert_int_equal(n, N_MANY);
    assert_int_equal(n_pages, 7);
    /* By type, from all of them; by bytes. */
    a.query.has_last = false;
    a.query.artifact_type = SLICE("seven");
    ask(&a, 1);
    assert_int_equal(referrer_list_count(a.list), 100);
    assert_false(a.has_more);
    a.query.artifact_type = SLICE_NONE;
    a.query.bytes_max = 1000;
    ask(&a, 2);
    assert_true(a.has_more && referrer_list_bytes(a.list) <= 1000);
    a.query.bytes_max = 1;
    ask(&a, 2);
    assert_true(a.has_more && referrer_list_count(a.list) == 1);
    referrer_list_free(&a.list);
    close_place(&p);
}

#define N_ASKERS 30

/* Questions from all workers at once share updates, and all get their answer. */
static void test_many_askers(void **state)
{
    struct digest subject = subject_of("many"), d;
    struct ask asks[N_ASKERS];
    struct place p;

    (void)state;
    open_place(&p);
    for (unsigned i = 0; i < 100; i++)
        put_referrer(&p, &subject, i, "", &d);
    for (size_t i = 0; i < N_ASKERS; i++) {
        asks[i] = ask_for(&p, &subject);
        moment_init(&asks[i].over);
        place_run(&p, i % PLACE_WORKERS, do_ask, &asks[i]);
    }
    for (size_t i = 0; i < N_ASKERS; i++) {
        assert_true(moment_wait(&asks[i].over));
        assert_int_equal(asks[i].rc, 0);
        assert_int_equal(referrer_list_count(asks[i].list), 100);
        referrer_list_free(&asks[i].list);
        moment_fini(&asks[i].over);
    }
    close_place(&p);
}

/* --- what the upstream said ------------------------------------------------------------------- */

struct keep {
    struct place *place;
    struct digest subject;
    struct slice body;
    int64_t at_s;
    struct moment over;
};

static void on_kept(void *arg)
{
    struct keep *k = arg;

    moment_come(&k->over);
}

static void do_keep(void *arg)
{
    struct keep *k = arg;

    struct referrers_kept kept = {k->body, k->at_s};

    referrers_keep_upstream(cache_referrers(k->place->cache), SLICE(REPO), &k->subject, &kept,
                            on_kept, k);
}

static void keep(struct place *p, const struct digest *subject, const char *body, int64_t at_s)
{
    struct keep k = {.place = p, .subject = *subject, .body = slice_of(body), .at_s = at_s};

    moment_init(&k.over);
    place_run(p, 0, do_keep, &k);
    assert_true(moment_wait(&k.over));
    moment_fini(&k.over);
}

/* What is kept; "-" when nothing is. */
static void assert_kept(struct place *p, const struct digest *subject, const char *body,
                        int64_t at_s)
{
    struct ask a = ask_for(p, subject);

    ask(&a, 1);
    assert_int_equal(a.rc, 0);
    assert_string_equal(a.has_kept ? a.kept : "-", body);
    if (a.has_kept)
        assert_int_equal(a.kept_at_s, at_s);
    referrer_list_free(&a.list);
}

static void test_kept(void **state)
{
    struct digest subject = subject_of("kept"), other = subject_of("not kept");
    char hex[DIGEST_TEXT_SIZE], long_text[500];
    struct place p;

    (void)state;
    digest_hex(&subject, hex);
    open_place(&p);
    assert_kept(&p, &subject, "-", 0);
    keep(&p, &subject, "{\"a\":\"}\\n\"}", 17);
    assert_kept(&p, &subject, "{\"a\":\"}\\n\"}", 17);
    assert_kept(&p, &other, "-", 0);
    place_reopen(&p);
    assert_kept(&p, &subject, "{\"a\":\"}\\n\"}", 17);
    /* There are none any more: known until memory is lost. */
    keep(&p, &subject, "", 18);
    assert_kept(&p, &subject, "", 18);
    place_reopen(&p);
    assert_kept(&p, &subject, "-", 0);
    keep(&p, &subject, "", 19);
    keep(&p, &subject, "{}", 20);
    assert_kept(&p, &subject, "{}", 20);
    /* Larger than may be read back. */
    memset(long_text, 'x', sizeof(long_text) - 1);
    long_text[sizeof(long_text) - 1] = '\0';
    for (int i = 0; i < 3; i++) {
        const char *const damaged[] = {
            long_text, "", "{\"subject\":\"sha256:00\",\"fetched_at\":1,\"answer\":{}}\n"};
        place_write(&p, place_path(&p, FOLDER "_referrers/sha256/%s/upstream.json", hex),
                    damaged[i], strlen(damaged[i]));
        assert_kept(&p, &subject, "-", 0);
    }
    close_place(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_descriptors), cmocka_unit_test(test_none),
        cmocka_unit_test(test_changes),     cmocka_unit_test(test_half_written),
        cmocka_unit_test(test_settled),     cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_wiped),       cmocka_unit_test(test_pages),
        cmocka_unit_test(test_many_askers), cmocka_unit_test(test_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
