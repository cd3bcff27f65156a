/*
 * Any text as a configuration file: it loads or is refused with problems; what loads prints, and
 * what is printed loads again and prints the same (but for secrets, which are masked).
 */
#include "config.h"

#include <stdint.h>
#include <stdlib.h>

#include "mirrord/configuration.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const environment[] = {"X=3", "Y=[a, {b: '_env:X'}]", "Z=@", NULL};

static struct config *load(struct slice text, const char *flavor)
{
    struct config_source source = {
        .path = "fuzz.yml", .flavor = flavor, .text = text, .environment = environment};
    struct strbuf problems = STRBUF_INIT;
    struct config *c = NULL;
    int rc = config_load(&source, &c, &problems);
    if ((rc == 0) != (c != NULL) || (rc == 0) != (problems.len == 0))
        abort();
    strbuf_fini(&problems);
    return c;
}

/* What is printed has to load again; the second time nothing may change any more. */
static void reload(struct config *c)
{
    struct strbuf text = STRBUF_INIT;
    struct strbuf ignored = STRBUF_INIT;
    config_print_effective(c, &text);
    struct config *again = load((struct slice){text.ptr, text.len}, "");
    if (again) {
        strbuf_clear(&text);
        config_print_effective(again, &text);
        struct config *third = load((struct slice){text.ptr, text.len}, "");
        if (!third || config_changed(again, third, &ignored, &ignored) != 0)
            abort();
        config_unref(&third);
    }
    config_unref(&again);
    strbuf_fini(&text);
    strbuf_fini(&ignored);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = {(const char *)data, size};
    static const char *const flavors[] = {"dev", ""};
    for (unsigned i = 0; i < 2; i++) {
        struct strbuf out = STRBUF_INIT;
        struct config *c = load(text, flavors[i]);
        if (c) {
            config_check(c, &out);
            config_unbuilt(c, &out);
            reload(c);
        }
        config_unref(&c);
        strbuf_fini(&out);
    }
    return 0;
}
