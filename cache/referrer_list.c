#include "config.h"

#include "cache/referrer_list.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/json_text.h"
#include "base/json_walk.h"
#include "base/strbuf.h"
#include "base/utf8.h"

#define BY_NAME_MAX 16 /* no name in the tables is longer */

/* Offsets, since the text moves when it grows. */
struct item {
    struct digest digest;
    size_t off, len;           /* the descriptor */
    size_t type_off, type_len; /* "artifactType" between its quotes */
};

struct referrer_list {
    struct strbuf text;
    struct item *items;
    size_t n, cap;
};

/* Members of a descriptor whose types matter. */
enum trait {
    TRAIT_MEDIA_TYPE,
    TRAIT_DIGEST,
    TRAIT_SIZE,
    TRAIT_ARTIFACT_TYPE,
    TRAIT_ANNOTATIONS,
    TRAIT_URLS,
    TRAIT_DATA,
    TRAIT_PLATFORM,
    TRAIT_MAX
};

static const struct {
    struct slice name;
    enum json_walk_kind kind;
} TRAITS[] = {
    [TRAIT_MEDIA_TYPE] = {{"mediaType", 9}, JSON_WALK_STRING},
    [TRAIT_DIGEST] = {{"digest", 6}, JSON_WALK_STRING},
    [TRAIT_SIZE] = {{"size", 4}, JSON_WALK_NUMBER},
    [TRAIT_ARTIFACT_TYPE] = {{"artifactType", 12}, JSON_WALK_STRING},
    [TRAIT_ANNOTATIONS] = {{"annotations", 11}, JSON_WALK_OBJECT},
    [TRAIT_URLS] = {{"urls", 4}, JSON_WALK_ARRAY},
    [TRAIT_DATA] = {{"data", 4}, JSON_WALK_STRING},
    [TRAIT_PLATFORM] = {{"platform", 8}, JSON_WALK_OBJECT},
};
_Static_assert(sizeof(TRAITS) / sizeof(TRAITS[0]) == TRAIT_MAX, "a row for every trait");

struct referrer_list *referrer_list_new(void)
{
    return xcalloc(1, sizeof(struct referrer_list));
}

void referrer_list_free(struct referrer_list **ll)
{
    struct referrer_list *l = *ll;

    if (!l)
        return;
    strbuf_fini(&l->text);
    free(l->items);
    free(l);
    *ll = NULL;
}

/* --- one descriptor --------------------------------------------------------------------------- */

struct check {
    bool has[TRAIT_MAX];
    enum trait within; /* the member whose inside is being told; TRAIT_MAX: one of no interest */
    struct digest digest;
    struct slice type; /* "artifactType" */
    const char *wrong;
};

static int refuse(struct check *c, const char *wrong)
{
    c->wrong = wrong;
    return -EBADMSG;
}

/* Many clients take names in any case, so any case counts here. */
static enum trait trait_of(struct slice key)
{
    char room[BY_NAME_MAX];
    int len = json_text_undo(key, room, sizeof(room));

    for (enum trait t = 0; len > 0 && t < TRAIT_MAX; t++) {
        if (slice_equal_case((struct slice){room, (size_t)len}, TRAITS[t].name))
            return t;
    }
    return TRAIT_MAX;
}

static bool is_null(const struct json_value *v)
{
    return v->kind == JSON_WALK_WORD && slice_equal(v->text, SLICE("null"));
}

/* The value of a member that has the right type. */
static int check_value(struct check *c, enum trait t, struct slice text)
{
    char room[DIGEST_TEXT_SIZE];
    uint64_t size;

    if (t == TRAIT_ARTIFACT_TYPE)
        c->type = text;
    if (t == TRAIT_SIZE && (!slice_to_u64(text, &size) || size > INT64_MAX))
        return refuse(c, "a size that is none");
    if (t == TRAIT_MEDIA_TYPE && !text.len)
        return refuse(c, "no media type");
    if (t != TRAIT_DIGEST)
        return 0;
    int len = json_text_undo(text, room, sizeof(room));
    if (len < 0 || !digest_parse((struct slice){room, (size_t)len}, &c->digest))
        return refuse(c, "a digest that is none");
    return 0;
}

static int check_member(struct check *c, const struct json_value *v)
{
    enum trait t = trait_of(v->key);

    c->within = t;
    if (t == TRAIT_MAX)
        return 0;
    if (c->has[t])
        return refuse(c, "a member twice");
    c->has[t] = true;
    if (is_null(v))
        return t <= TRAIT_SIZE ? refuse(c, "a member that is null") : 0;
    return v->kind == TRAITS[t].kind ? check_value(c, t, v->text)
                                     : refuse(c, "a member of the wrong type");
}

/* What is inside of members: strings, and in a platform lists of strings. */
static int check_inside(struct check *c, const struct json_value *v)
{
    bool is_list = c->within == TRAIT_PLATFORM && v->depth == 2 && v->kind == JSON_WALK_ARRAY;

    if (c->within == TRAIT_MAX || is_list || is_null(v) || v->kind == JSON_WALK_STRING)
        return 0;
    return refuse(c, "something else than text in a member");
}

static int on_value(void *arg, const struct json_value *v)
{
    struct check *c = arg;

    if (v->is_end)
        return 0;
    if (v->depth == 0)
        return v->kind == JSON_WALK_OBJECT ? 0 : refuse(c, "no object");
    return v->depth == 1 ? check_member(c, v) : check_inside(c, v);
}

static int check_descriptor(struct slice text, struct check *c, struct error *err)
{
    *c = (struct check){.within = TRAIT_MAX};
    if (!utf8_is_valid(text))
        return error_set(err, -EBADMSG, "descriptor: not in UTF-8");
    int rc = json_walk(text, JSON_WALK_DEPTH_MAX, on_value, c, err);
    if (rc < 0 && c->wrong)
        return error_set(err, -EBADMSG, "descriptor: %s", c->wrong);
    if (rc < 0) {
        error_wrap(err, "descriptor");
        return -EBADMSG;
    }
    if (!c->has[TRAIT_MEDIA_TYPE] || !c->has[TRAIT_DIGEST] || !c->has[TRAIT_SIZE])
        return error_set(err, -EBADMSG, "descriptor: without media type, digest, or size");
    return 0;
}

int referrer_list_add(struct referrer_list *l, struct slice descriptor, const struct digest *wanted,
                      struct error *err)
{
    struct check c;
    int rc = check_descriptor(descriptor, &c, err);

    if (rc < 0)
        return rc;
    if (wanted && !digest_equal(&c.digest, wanted))
        return error_set(err, -EBADMSG, "descriptor: of something else");
    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 8;
        l->items = xrealloc(l->items, l->cap * sizeof(l->items[0]));
    }
    struct item *it = &l->items[l->n++];
    *it = (struct item){.digest = c.digest, .off = l->text.len, .len = descriptor.len};
    if (c.type.ptr) {
        it->type_off = it->off + (size_t)(c.type.ptr - descriptor.ptr);
        it->type_len = c.type.len;
    }
    strbuf_add_slice(&l->text, descriptor);
    return 0;
}

/* --- a whole index ---------------------------------------------------------------------------- */

struct reading {
    struct referrer_list *list;
    size_t n_before; /* items that were in the list */
    size_t bytes_before;
    size_t n_left_out;
    bool is_within; /* in "manifests" */
    bool has_manifests;
    const char *wrong;
};

static void forget_added(struct reading *r)
{
    r->list->n = r->n_before;
    r->list->text.len = r->bytes_before;
    r->n_left_out = 0;
}

/* A member of the index. With a name twice the last one counts. */
static int read_member(struct reading *r, const struct json_value *v)
{
    r->is_within = json_text_is(v->key, SLICE("manifests"));
    if (!r->is_within)
        return 0;
    forget_added(r);
    r->has_manifests = true;
    if (v->kind == JSON_WALK_ARRAY || is_null(v))
        return 0;
    r->wrong = "its manifests are no array";
    return -EBADMSG;
}

static int on_index_value(void *arg, const struct json_value *v)
{
    struct reading *r = arg;
    bool is_object = v->kind == JSON_WALK_OBJECT;

    if (v->depth == 0 && !is_object) {
        r->wrong = "no object";
        return -EBADMSG;
    }
    if (v->depth == 1 && !v->is_end)
        return read_member(r, v);
    if (v->depth != 2 || !r->is_within || is_object != v->is_end)
        return 0;
    if (!is_object || referrer_list_add(r->list, v->text, NULL, NULL) < 0)
        r->n_left_out++;
    return 0;
}

int referrer_list_read(struct referrer_list *l, struct slice index, size_t *n_left_out,
                       struct error *err)
{
    struct reading r = {.list = l, .n_before = l->n, .bytes_before = l->text.len};
    int rc = json_walk(index, JSON_WALK_DEPTH_MAX, on_index_value, &r, err);

    if (rc < 0 && !r.wrong)
        error_wrap(err, "list of referrers");
    if (rc == 0 && !r.has_manifests)
        r.wrong = "it has no manifests";
    if (r.wrong)
        error_set(err, -EBADMSG, "list of referrers: %s", r.wrong);
    if (rc < 0 || r.wrong) {
        forget_added(&r);
        return -EBADMSG;
    }
    *n_left_out = r.n_left_out;
    return 0;
}

/* --- order and access ------------------------------------------------------------------------- */

int referrer_list_compare(const struct digest *a, const struct digest *b)
{
    if (a->alg != b->alg)
        return strcmp(digest_alg_name(a->alg), digest_alg_name(b->alg));
    return memcmp(a->bytes, b->bytes, digest_size(a->alg));
}

static int compare_items(const void *pa, const void *pb)
{
    const struct item *a = pa, *b = pb;
    int order = referrer_list_compare(&a->digest, &b->digest);

    /* Of the same digest: in the order in which they came. */
    return order ? order : (a->off > b->off) - (a->off < b->off);
}

void referrer_list_sort(struct referrer_list *l)
{
    size_t n = 0;

    if (l->n < 2)
        return;
    qsort(l->items, l->n, sizeof(l->items[0]), compare_items);
    for (size_t i = 1; i < l->n; i++) {
        if (!digest_equal(&l->items[i].digest, &l->items[n].digest))
            l->items[++n] = l->items[i];
    }
    l->n = n + 1;
}

void referrer_list_print(const struct referrer_list *l, struct strbuf *out)
{
    strbuf_add_str(out, "{\"schemaVersion\":2,\"mediaType\":\"" REFERRER_INDEX_TYPE
                        "\",\"manifests\":[");
    for (size_t i = 0; i < l->n; i++) {
        if (i)
            strbuf_add_char(out, ',');
        strbuf_add_slice(out, referrer_list_descriptor(l, i));
    }
    strbuf_add_str(out, "]}");
}

size_t referrer_list_count(const struct referrer_list *l)
{
    return l->n;
}

size_t referrer_list_bytes(const struct referrer_list *l)
{
    return l->text.len;
}

const struct digest *referrer_list_digest(const struct referrer_list *l, size_t i)
{
    CHECK(i < l->n);
    return &l->items[i].digest;
}

struct slice referrer_list_descriptor(const struct referrer_list *l, size_t i)
{
    CHECK(i < l->n);
    return (struct slice){l->text.ptr + l->items[i].off, l->items[i].len};
}

bool referrer_list_has_type(const struct referrer_list *l, size_t i, struct slice artifact_type)
{
    CHECK(i < l->n);
    const struct item *it = &l->items[i];
    return it->type_len > 0 &&
           json_text_is((struct slice){l->text.ptr + it->type_off, it->type_len}, artifact_type);
}
