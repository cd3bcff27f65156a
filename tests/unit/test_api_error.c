#include "config.h"

#include "mirrord/api_error.h"

#include <errno.h>
#include <string.h>

#include <jansson.h>

#include "tests/unit/unit.h"
#include "upstream/fetch.h"

/* Every row is a status of an error and JSON that clients can read. */
static void test_bodies(void **state)
{
    struct api_error_info info = {.detail_key = "name", .detail_value = SLICE("a\"\\\n\x01z")};

    (void)state;
    for (enum api_error id = API_ERROR_NONE + 1; id < API_ERROR_MAX; id++) {
        struct strbuf body = STRBUF_INIT;
        json_error_t why;
        int status = api_error_status(id);
        assert_in_range(status, 400, 507);
        api_error_body(id, &info, &body);
        json_t *root = json_loadb(body.ptr, body.len, 0, &why);
        json_t *error = json_array_get(json_object_get(root, "errors"), 0);
        assert_true(strlen(json_string_value(json_object_get(error, "code"))) > 0);
        assert_true(strlen(json_string_value(json_object_get(error, "message"))) > 0);
        assert_string_equal(
            json_string_value(json_object_get(json_object_get(error, "detail"), "name")),
            "a\"\\\n\x01z");
        json_decref(root);
        strbuf_fini(&body);
    }
}

static void test_without_detail(void **state)
{
    struct strbuf body = STRBUF_INIT;

    (void)state;
    api_error_body(API_ERROR_BLOB_UNKNOWN, NULL, &body);
    assert_string_equal(
        body.ptr,
        "{\"errors\":[{\"code\":\"BLOB_UNKNOWN\",\"message\":\"blob unknown to registry\"}]}\n");
    strbuf_fini(&body);
}

static const struct {
    enum fetch_outcome outcome;
    int status;
    int code;
    enum api_error want;
} outcomes[] = {
    {FETCH_OK, 200, 0, API_ERROR_NONE},
    {FETCH_NOT_FOUND, 404, -ENOENT, API_ERROR_BLOB_UNKNOWN},
    {FETCH_UNAUTHORIZED, 401, -EACCES, API_ERROR_CREDENTIALS},
    {FETCH_DENIED, 403, -EACCES, API_ERROR_DENIED},
    {FETCH_THROTTLED, 429, -EAGAIN, API_ERROR_THROTTLED},
    {FETCH_UNAVAILABLE, 0, -ECONNREFUSED, API_ERROR_UNAVAILABLE},
    {FETCH_UNAVAILABLE, 0, -ETIMEDOUT, API_ERROR_TIMEOUT},
    {FETCH_UNAVAILABLE, 500, -EIO, API_ERROR_UNAVAILABLE},
    {FETCH_UNAVAILABLE, 504, -EIO, API_ERROR_TIMEOUT},
    {FETCH_BAD_ANSWER, 200, -EPROTO, API_ERROR_BAD_UPSTREAM},
    {FETCH_REFUSED, 200, -EFBIG, API_ERROR_BAD_UPSTREAM},
};

static void test_outcomes(void **state)
{
    (void)state;
    assert_int_equal(N_ROWS(outcomes) >= FETCH_OUTCOME_MAX, 1);
    for (size_t i = 0; i < N_ROWS(outcomes); i++) {
        struct fetch_result result = {.outcome = outcomes[i].outcome,
                                      .status = outcomes[i].status,
                                      .error = {.code = outcomes[i].code}};
        assert_int_equal(api_error_of_fetch(&result, API_ERROR_BLOB_UNKNOWN), outcomes[i].want);
    }
}

static void test_pack(void **state)
{
    static const int seconds[] = {-1, 0, 1, 60, 86400, 1000000};
    int told;

    (void)state;
    for (enum api_error id = API_ERROR_NONE + 1; id < API_ERROR_MAX; id++) {
        for (size_t i = 0; i < N_ROWS(seconds); i++) {
            int reason = api_error_pack(id, seconds[i]);
            assert_true(reason < -4096);
            assert_int_equal(api_error_unpack(reason, &told), id);
            assert_int_equal(told, seconds[i] < 0 ? 0 : seconds[i] > 86400 ? 86400 : seconds[i]);
        }
    }
    assert_int_equal(api_error_unpack(-EBADMSG, &told), API_ERROR_BAD_UPSTREAM);
    assert_int_equal(api_error_unpack(-ENOSPC, &told), API_ERROR_STORAGE);
    assert_int_equal(told, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_without_detail),
        cmocka_unit_test(test_outcomes),
        cmocka_unit_test(test_pack),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
