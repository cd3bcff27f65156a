#include "config.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/unit.h"

static void test_levels(void **state)
{
    static const struct {
        const char *name;
        bool ok;
        enum log_level level;
    } ROWS[] = {
        {"debug", true, LOG_DEBUG},       {"INFO", true, LOG_INFO},   {"warn", true, LOG_WARNING},
        {"Warning", true, LOG_WARNING},   {"error", true, LOG_ERROR}, {"fatal", true, LOG_CRITICAL},
        {"critical", true, LOG_CRITICAL}, {"", false, LOG_DEBUG},     {"trace", false, LOG_DEBUG},
    };
    enum log_level level;

    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        assert_int_equal(log_level_parse(ROWS[i].name, &level), ROWS[i].ok);
        if (ROWS[i].ok)
            assert_int_equal(level, ROWS[i].level);
    }
}

/* One line per event, whatever a peer puts into it. */
static void test_escapes_and_filters(void **state)
{
    char path[] = "/tmp/test_log.XXXXXX";
    int fd = mkstemp(path);
    char text[4096] = "";

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(log_set_file(path, NULL), 0);
    log_set_level(LOG_INFO);
    log_debug("a", "not seen");
    log_info("conn 1", "bad path \"/x\n\033[31m\"");
    log_warning(NULL, "%2000s", "long");
    assert_int_equal(log_set_file("/nonexistent/dir/file", NULL) < 0, true);
    assert_true(read(fd, text, sizeof(text) - 1) > 0);
    assert_null(strstr(text, "not seen"));
    assert_non_null(strstr(text, "INFO: conn 1: bad path \"/x\\x0a\\x1b[31m\"\n"));
    int n_lines = 0;
    for (const char *p = text; (p = strchr(p, '\n')); p++)
        n_lines++;
    assert_int_equal(n_lines, 2);
    close(fd);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_escapes_and_filters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
