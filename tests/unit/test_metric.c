#include "config.h"

#include "base/metric.h"

#include <pthread.h>
#include <string.h>

#include "tests/unit/unit.h"

static void *add_many(void *arg)
{
    (void)arg;
    for (int i = 0; i < 10000; i++)
        metric_inc(METRIC_BLOB_HITS);
    return NULL;
}

/* More threads than lines: shared lines still count right. */
static void test_sum_over_threads(void **state)
{
    pthread_t threads[40];

    (void)state;
    for (size_t i = 0; i < N_ROWS(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, add_many, NULL), 0);
    for (size_t i = 0; i < N_ROWS(threads); i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(metric_get(METRIC_BLOB_HITS), 400000);
}

static void test_print(void **state)
{
    struct strbuf out = STRBUF_INIT;

    (void)state;
    metric_set(METRIC_GC_RUNNING, 100);
    metric_print(&out);
    assert_non_null(strstr(out.ptr, "# TYPE mirrord_blob_requests_total counter\n"));
    assert_non_null(strstr(out.ptr, "\nmirrord_blob_requests_total{result=\"miss\"} 0\n"));
    assert_non_null(strstr(out.ptr, "\nmirrord_gc_running 100\n"));
    /* One header per name, although three rows share it. */
    char *first = strstr(out.ptr, "# TYPE mirrord_blob_requests_total");
    assert_null(strstr(first + 1, "# TYPE mirrord_blob_requests_total"));
    strbuf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sum_over_threads),
        cmocka_unit_test(test_print),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
