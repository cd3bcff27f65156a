#include "config.h"

#include "cache/manifest_scan.h"

#include <errno.h>
#include <string.h>

#include "base/strbuf.h"
#include "tests/unit/unit.h"

#define HEX "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define A "sha256:" HEX "aa"
#define B "sha256:" HEX "bb"
#define C "sha256:" HEX "cc"
#define D512 "sha512:" HEX HEX "aabb"

static int tell(void *arg, const struct manifest_ref *ref)
{
    static const char KINDS[] = "clms";
    char digest[DIGEST_TEXT_SIZE];
    size_t n = digest_format(&ref->digest, digest);

    strbuf_addf(arg, "%c:%s", KINDS[ref->kind], digest + n - 2);
    if (ref->has_size)
        strbuf_addf(arg, "=%llu", (unsigned long long)ref->size);
    strbuf_add_str(arg, ref->is_foreign ? "! " : " ");
    return 0;
}

/* Good ones, and what they reference. */
static const struct {
    const char *name, *text, *refs;
} GOOD[] = {
    {"empty", "{}", ""},
    {"image",
     "{\"schemaVersion\":2,\"config\":{\"mediaType\":\"x/y\",\"digest\":\"" A "\",\"size\":7},"
     "\"layers\":[{\"digest\":\"" B "\",\"size\":0},{\"size\":9223372036854775807,\"digest\":\"" C
     "\"}]}",
     "c:aa=7 l:bb=0 l:cc=9223372036854775807 "},
    {"index",
     "{\"manifests\":[{\"digest\":\"" A "\",\"size\":1,\"platform\":{\"digest\":\"no\",\"size\":-1,"
     "\"os.features\":[\"x\",{\"size\":false}]}},{\"digest\":\"" D512 "\",\"size\":2}]}",
     "m:aa=1 m:bb=2 "},
    {"no layers", "{\"layers\":[],\"manifests\":[],\"blobs\":[]}", ""},
    {"artifact",
     "{\"blobs\":[{\"digest\":\"" A "\"}],\"subject\":{\"digest\":\"" B "\",\"size\":3}}",
     "l:aa s:bb=3 "},
    {"schema 1",
     "{\"schemaVersion\":1,\"fsLayers\":[{\"blobSum\":\"" A "\",\"digest\":\"no\"}],"
     "\"history\":[{\"v1Compatibility\":\"{}\"}],\"signatures\":[{\"digest\":1}]}",
     "l:aa "},
    {"blobSum elsewhere", "{\"layers\":[{\"digest\":\"" A "\",\"blobSum\":\"no\"}]}", "l:aa "},
    {"urls", "{\"layers\":[{\"urls\":[\"http://x\"],\"digest\":\"" A "\"}]}", "l:aa! "},
    {"no urls", "{\"layers\":[{\"urls\":[],\"annotations\":{\"a\":[\"b\"]},\"digest\":\"" A "\"}]}",
     "l:aa "},
    {"urls deeper", "{\"layers\":[{\"platform\":{\"urls\":[\"x\"]},\"digest\":\"" A "\"}]}",
     "l:aa "},
    {"foreign types",
     "{\"layers\":[{\"digest\":\"" A "\",\"mediaType\":"
     "\"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip\"},{\"digest\":\"" B
     "\",\"mediaType\":\"application/vnd.oci.image.layer.nondistributable.v1.tar\\u002bgzip\"}]}",
     "l:aa! l:bb! "},
    {"null is absence",
     "{\"config\":null,\"layers\":null,\"subject\":null,\"annotations\":null,\"mediaType\":null,"
     "\"manifests\":[{\"digest\":\"" A "\",\"size\":null,\"urls\":null,\"mediaType\":null}]}",
     "m:aa "},
    {"escaped names", "{\"\\u006cayers\":[{\"\\u0064igest\":\"sha256:\\u0061" HEX "a\"}]}",
     "l:aa "},
    {"the same names deeper",
     "{\"annotations\":{\"layers\":\"x\",\"Config\":\"y\"},\"x\":{\"layers\":[1],\"config\":2},"
     "\"y\":[{\"digest\":3}],\"layers\":[]}",
     ""},
    {"foreign names twice", "{\"x\":1,\"x\":2,\"layers\":[{\"y\":1,\"y\":2,\"digest\":\"" A "\"}]}",
     "l:aa "},
};

static void test_good(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(GOOD); i++) {
        struct strbuf refs = STRBUF_INIT;
        struct manifest_facts facts;
        struct error err = {0};
        strbuf_add_str(&refs, "");
        int rc = manifest_scan(slice_of(GOOD[i].text), 8, &facts, tell, &refs, &err);
        if (rc != 0 || strcmp(refs.ptr ? refs.ptr : "", GOOD[i].refs) != 0)
            fail_msg("%s: %d %s: %s", GOOD[i].name, rc, err.text, refs.ptr);
        strbuf_fini(&refs);
    }
}

#define LAYER(members) "{\"layers\":[{" members "}]}"

/* Bad ones, and what is said about them. */
static const struct {
    const char *text, *why;
} BAD[] = {
    {"", "early end"},
    {"[]", "no object"},
    {"\"x\"", "no object"},
    {"{\"layers\":[}", "JSON"},
    {"{\"mediaType\":1}", "mediaType: is no string"},
    {"{\"artifactType\":{}}", "artifactType: is no string"},
    {"{\"schemaVersion\":\"2\"}", "schemaVersion: is no number"},
    {"{\"schemaVersion\":2.0}", "schemaVersion"},
    {"{\"schemaVersion\":-2}", "schemaVersion"},
    {"{\"annotations\":[]}", "annotations: is no object"},
    {"{\"config\":[]}", "config: is no object"},
    {"{\"config\":true}", "config: is no object"},
    {"{\"config\":{}}", "config: has a descriptor without digest"},
    {"{\"subject\":\"x\"}", "subject: is no object"},
    {"{\"subject\":{\"size\":1}}", "subject: has a descriptor without digest"},
    {"{\"layers\":{}}", "layers: is no array"},
    {"{\"layers\":[\"" A "\"]}", "layers: has something else"},
    {"{\"layers\":[null]}", "layers: has something else"},
    {"{\"manifests\":[[]]}", "manifests: has something else"},
    {"{\"blobs\":[{}]}", "blobs: has a descriptor without digest"},
    {"{\"fsLayers\":[{\"digest\":\"" A "\"}]}", "fsLayers: has a descriptor without digest"},
    {LAYER("\"blobSum\":\"" A "\""), "layers: has a descriptor without digest"},
    {LAYER("\"digest\":null"), "layers: has a descriptor without digest"},
    {LAYER("\"digest\":7"), "digest: is no string"},
    {LAYER("\"digest\":{\"digest\":\"" A "\"}"), "digest: is no string"},
    {LAYER("\"digest\":\"\""), "digest: is not a digest"},
    {LAYER("\"digest\":\"sha256:abc\""), "digest: is not a digest"},
    {LAYER("\"digest\":\"md5:" HEX "aa\""), "digest: is not a digest"},
    {LAYER("\"digest\":\"" A "a\""), "digest: is not a digest"},
    {LAYER("\"digest\":\"" A "\\u0000\""), "digest: is not a digest"},
    {LAYER("\"digest\":\"" A "\",\"size\":-1"), "size: is not a count"},
    {LAYER("\"digest\":\"" A "\",\"size\":-0"), "size: is not a count"},
    {LAYER("\"digest\":\"" A "\",\"size\":1.0"), "size: is not a count"},
    {LAYER("\"digest\":\"" A "\",\"size\":1e400"), "size: is not a count"},
    {LAYER("\"digest\":\"" A "\",\"size\":9223372036854775808"), "size: is not a count"},
    {LAYER("\"digest\":\"" A "\",\"size\":99999999999999999999999"), "size: is not a count"},
    {LAYER("\"digest\":\"" A "\",\"size\":\"1\""), "size: is no number"},
    {LAYER("\"digest\":\"" A "\",\"size\":true"), "size: is no number"},
    {LAYER("\"digest\":\"" A "\",\"mediaType\":1"), "mediaType: is no string"},
    {LAYER("\"digest\":\"" A "\",\"urls\":\"http://x\""), "urls: is no array"},
    /* What two readers would read differently. */
    {"{\"layers\":[],\"layers\":[]}", "layers: is there twice"},
    {"{\"layers\":[],\"\\u006cayers\":[]}", "layers: is there twice"},
    {"{\"layers\":null,\"layers\":[]}", "layers: is there twice"},
    {"{\"Layers\":[]}", "layers: its name in another case"},
    {"{\"CONFI\\u0047\":{}}", "config: its name in another case"},
    {LAYER("\"digest\":\"" A "\",\"digest\":\"" B "\""), "digest: is there twice"},
    {LAYER("\"digest\":\"" A "\",\"Digest\":\"" B "\""), "digest: its name in another case"},
    {LAYER("\"size\":1,\"digest\":\"" A "\",\"\\u0073ize\":2"), "size: is there twice"},
};

static void test_bad(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(BAD); i++) {
        struct manifest_facts facts;
        struct error err = {0};
        int rc = manifest_scan(slice_of(BAD[i].text), 8, &facts, NULL, NULL, &err);
        if (rc != -EBADMSG || err.code != rc || !strstr(err.text, BAD[i].why))
            fail_msg("%s: %d %s", BAD[i].text, rc, err.text);
    }
}

static void test_facts(void **state)
{
    struct manifest_facts f;
    struct digest subject;
    const char *text = "{\"mediaType\":\"a\\/b\",\"annotations\":{\"x\":{\"y\":[]}},"
                       "\"artifactType\":\"c/d\",\"subject\":{\"digest\":\"" A "\"},"
                       "\"config\":{\"digest\":\"" B "\",\"mediaType\":\"e/f\"},"
                       "\"schemaVersion\":2,\"layers\":[],\"z\":{\"annotations\":{}}}";

    (void)state;
    assert_int_equal(manifest_scan(slice_of(text), 8, &f, NULL, NULL, NULL), 0);
    assert_true(slice_equal(f.media_type, SLICE("a\\/b")));
    assert_true(slice_equal(f.artifact_type, SLICE("c/d")));
    assert_true(slice_equal(f.config_media_type, SLICE("e/f")));
    assert_true(slice_equal(f.annotations, SLICE("{\"x\":{\"y\":[]}}")));
    assert_true(f.has_schema_version && f.schema_version == 2);
    assert_true(f.has_config && f.has_layers && !f.has_manifests && !f.has_fs_layers);
    assert_true(digest_parse(SLICE(A), &subject));
    assert_true(f.has_subject && digest_equal(&f.subject, &subject));

    text = "{\"fsLayers\":[],\"manifests\":[],\"config\":null,\"layers\":null}";
    assert_int_equal(manifest_scan(slice_of(text), 8, &f, NULL, NULL, NULL), 0);
    assert_true(!f.has_config && !f.has_layers && f.has_manifests && f.has_fs_layers);
    assert_true(!f.has_subject && !f.has_schema_version && !f.annotations.ptr && !f.media_type.ptr);
}

static void test_depth(void **state)
{
    struct manifest_facts facts;
    struct strbuf text = STRBUF_INIT;
    struct error err = {0};

    (void)state;
    assert_int_equal(manifest_scan(SLICE("{\"a\":[]}"), 2, &facts, NULL, NULL, NULL), 0);
    int rc = manifest_scan(SLICE("{\"a\":[]}"), 1, &facts, NULL, NULL, &err);
    assert_true(rc == -EBADMSG && err.code == rc && strstr(err.text, "deep"));
    strbuf_add_str(&text, "{\"annotations\":");
    for (unsigned i = 0; i < 10000; i++)
        strbuf_add_char(&text, '[');
    /* More than can be walked counts as what can. */
    rc = manifest_scan((struct slice){text.ptr, text.len}, 20000, &facts, NULL, NULL, NULL);
    assert_int_equal(rc, -EBADMSG);
    strbuf_fini(&text);
}

static int stop_at_config(void *arg, const struct manifest_ref *ref)
{
    ++*(int *)arg;
    return ref->kind == MANIFEST_REF_CONFIG ? -E2BIG : 0;
}

static void test_stop(void **state)
{
    struct manifest_facts facts;
    int n = 0;
    const char *text = "{\"layers\":[{\"digest\":\"" A "\"}],\"config\":{\"digest\":\"" A
                       "\"},\"subject\":{\"digest\":\"" A "\"}}";

    (void)state;
    assert_int_equal(manifest_scan(slice_of(text), 8, &facts, stop_at_config, &n, NULL), -E2BIG);
    assert_int_equal(n, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),  cmocka_unit_test(test_bad),  cmocka_unit_test(test_facts),
        cmocka_unit_test(test_depth), cmocka_unit_test(test_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
