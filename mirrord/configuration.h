/*
 * The configuration: one value for every option of mirrord/options.def, read from a YAML file of
 * flavors, the environment and the defaults (docs/man/mirrord.conf.5 tells the rules).
 *
 * Immutable after config_load and counted: any thread reads it without a lock as long as it holds
 * a reference. SIGHUP loads a second one; the main thread hands each worker a reference to it by
 * mail, and the worker drops its old one at the end of that turn. Getters return what belongs to
 * the struct config and lives as long. Asking an option by a getter of another type is a bug.
 *
 * (Not called config.h: that is the file configure writes.)
 */
#ifndef MIRRORD_CONFIGURATION_H
#define MIRRORD_CONFIGURATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "base/strbuf.h"
#include "mirrord/options.h"

struct config;

/* Where to load from; all zero means: as the environment says. */
struct config_source {
    const char *path;               /* -c; NULL: $DOCKER_REGISTRY_CONFIG, else the sample */
    const char *flavor;             /* -f; NULL: $SETTINGS_FLAVOR, else "dev"; "": the top level */
    struct slice text;              /* instead of a file, when ptr is set; path is then its name */
    const char *const *environment; /* "NAME=value", NULL-terminated; NULL: the process's own */
};

/* Blocking. 0 and a reference in *out; or -EINVAL (-ENOENT and the like when the file cannot be
 * read) and one line per problem in *problems_out: "file:line: key: what is wrong; what is
 * allowed". All problems are told at once. */
int config_load(const struct config_source *source, struct config **out,
                struct strbuf *problems_out);
/* What is well-formed but cannot run in this build (a storage driver that is not there): 0, or
 * -EINVAL with the lines in *problems_out as above. */
int config_check(const struct config *c, struct strbuf *problems_out);
struct config *config_ref(struct config *c);
void config_unref(struct config **c);

/* STRING, PATH, URL, ENUM, ADDRESS, ANY, MAP; NULL when null. */
const char *config_str(const struct config *c, enum option id);
/* INT, PERCENT ("always" is 0); 0 when null. */
int64_t config_int(const struct config *c, enum option id);
bool config_bool(const struct config *c, enum option id); /* false when null */
uint64_t config_bytes(const struct config *c, enum option id);
/* SPACE: so many bytes, or so many percent of something; both 0 when null. */
struct config_space {
    uint64_t bytes;
    unsigned percent;
};
struct config_space config_space(const struct config *c, enum option id);
uint64_t config_ms(const struct config *c, enum option id); /* DURATION in milliseconds */
size_t config_list_len(const struct config *c, enum option id);
/* All of them, NULL-terminated; NULL for an empty list. */
const char *const *config_list(const struct config *c, enum option id);
const char *config_list_item(const struct config *c, enum option id, size_t i);
bool config_is_null(const struct config *c, enum option id);
/* What was taken and is likely to be a mistake: lines "file:line: key: what", "" for none. */
const char *config_warnings(const struct config *c);
/* Whether the file or the environment said something other than null. */
bool config_was_set(const struct config *c, enum option id);

/* The file's path, or "the compiled-in sample"; the flavor, "" for the top level. */
const char *config_file(const struct config *c);
const char *config_flavor(const struct config *c);

/* All values as YAML that could be loaded again (with the empty flavor), secrets masked, each with
 * where it came from: default, file:line, environment NAME. */
void config_print_effective(const struct config *c, struct strbuf *out);
/* Comma-separated keys of the options that are set and have no effect so far; returns how many. */
size_t config_unbuilt(const struct config *c, struct strbuf *keys_out);
/* Comma-separated keys of the options that differ between two configurations, apart: those SIGHUP
 * applies and those that need a restart. Returns how many differ. */
size_t config_changed(const struct config *old, const struct config *new_one,
                      struct strbuf *reloadable_out, struct strbuf *restart_out);

#endif
