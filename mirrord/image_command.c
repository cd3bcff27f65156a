#include "config.h"

#include "mirrord/image_command.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/strbuf.h"
#include "mirrord/admin_client.h"

struct asking {
    const char *command;
    bool wants_match; /* what matches nothing is a mistake */
    struct admin_client *client;
    json_t *images; /* all that was told of: objects, or names of pins */
    /* Sums over all answers of an eviction. */
    json_int_t n_evicted, n_blobs, bytes, n_kept;
    char kept[64]; /* why the last of n_kept stayed */
    struct error err;
};

/* --- asking ----------------------------------------------------------------------------------- */

static void add_escaped(struct strbuf *out, const char *text)
{
    for (; *text; text++) {
        if ((*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') ||
            (*text >= '0' && *text <= '9') || strchr("-._~/:@", *text))
            strbuf_add_char(out, *text);
        else
            strbuf_addf(out, "%%%02X", (unsigned char)*text);
    }
}

/* Takes what one answer says. */
static int take(struct asking *a, const struct admin_answer *answer)
{
    json_t *root = json_loadb(answer->body.ptr ? answer->body.ptr : "", answer->body.len, 0, NULL);
    const char *why = json_string_value(json_object_get(root, "error"));
    json_t *list = json_object_get(root, "images");
    int rc = 0;

    if (!list)
        list = json_object_get(root, "pins");
    if (answer->status != 200)
        rc = error_set(&a->err, -EIO, "%s", why ? why : "the daemon refuses, and does not say why");
    else if (!list)
        rc = error_set(&a->err, -EBADMSG, "the answer cannot be understood");
    else
        json_array_extend(a->images, list);
    a->n_evicted += json_integer_value(json_object_get(root, "evicted"));
    a->n_blobs += json_integer_value(json_object_get(root, "blobs"));
    a->bytes += json_integer_value(json_object_get(root, "bytes"));
    a->n_kept += json_integer_value(json_object_get(root, "kept"));
    why = json_string_value(json_object_get(root, "why_kept"));
    if (why && *why)
        snprintf(a->kept, sizeof(a->kept), "%s", why);
    json_decref(root);
    return rc;
}

/* All pages of one question. */
static int ask(struct asking *a, const char *method, const char *path)
{
    struct strbuf next = STRBUF_INIT;
    int rc = 0;

    CHECK(a->client && path[0] == '/');
    strbuf_add_str(&next, path);
    while (rc == 0 && next.len > 0) {
        struct admin_answer answer;
        rc = admin_client_call(a->client, method, next.ptr, &answer, &a->err);
        if (rc < 0)
            break;
        rc = take(a, &answer);
        strbuf_clear(&next);
        strbuf_add_slice(&next, (struct slice){answer.next.ptr, answer.next.len});
        admin_answer_fini(&answer);
    }
    strbuf_fini(&next);
    return rc;
}

/* One question about every operand. */
static int ask_each(struct asking *a, const char *method, const char *path,
                    const struct command_line *line)
{
    int rc = 0;

    for (int i = 0; i < line->n_operands && rc == 0; i++) {
        struct strbuf target = STRBUF_INIT;
        size_t n_before = json_array_size(a->images);
        strbuf_add_str(&target, path);
        add_escaped(&target, line->operands[i]);
        rc = ask(a, method, target.ptr);
        if (rc == 0 && a->wants_match && json_array_size(a->images) == n_before)
            rc = error_set(&a->err, -ENOENT,
                           "nothing that is here matches; with a tag or a digest, and without "
                           "wildcards, an image is pinned before it is here");
        if (rc < 0 && a->err.code != -ECONNREFUSED)
            error_wrap(&a->err, "%s", line->operands[i]);
        strbuf_fini(&target);
    }
    return rc;
}

/* --- printing --------------------------------------------------------------------------------- */

static const char *text_of(const json_t *image, const char *name, const char *otherwise)
{
    const char *text = json_string_value(json_object_get(image, name));

    return text ? text : otherwise;
}

static json_int_t number_of(const json_t *image, const char *name)
{
    return json_integer_value(json_object_get(image, name));
}

/* "17.3 GiB" */
static void print_size(json_int_t bytes, char out[16])
{
    static const char *const UNITS[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double size = (double)bytes;
    size_t i = 0;

    while (size >= 1024 && i + 1 < sizeof(UNITS) / sizeof(UNITS[0])) {
        size /= 1024;
        i++;
    }
    snprintf(out, 16, i > 0 && size < 100 ? "%.1f %s" : "%.0f %s", size, UNITS[i]);
}

static void print_time(json_int_t at_s, char out[20])
{
    time_t at = (time_t)at_s;
    struct tm tm;

    if (at_s <= 0 || !localtime_r(&at, &tm) || strftime(out, 20, "%Y-%m-%d %H:%M", &tm) == 0)
        snprintf(out, 20, "-");
}

static void print_name(const json_t *image, struct strbuf *out)
{
    const char *tag = text_of(image, "tag", NULL);

    strbuf_addf(out, "%s%s%s", text_of(image, "repository", "?"), tag ? ":" : "@",
                tag ? tag : text_of(image, "digest", "?"));
}

static void print_row(const json_t *image, int width)
{
    struct strbuf name = STRBUF_INIT;
    char size[16], shared[16], used[20];

    print_name(image, &name);
    print_size(number_of(image, "size"), size);
    print_size(number_of(image, "shared"), shared);
    print_time(number_of(image, "last_use"), used);
    printf("%-*s  %.19s  %10s  %10s  %-16s  %s%s%s\n", width, name.ptr,
           text_of(image, "digest", "?"), size, shared, used, text_of(image, "origin", "?"),
           json_is_true(json_object_get(image, "pinned")) ? ", pinned" : "",
           json_is_false(json_object_get(image, "whole")) ? ", in part" : "");
    strbuf_fini(&name);
}

static void print_table(const json_t *images)
{
    struct strbuf name = STRBUF_INIT;
    int width = 5;

    for (size_t i = 0; i < json_array_size(images); i++) {
        strbuf_clear(&name);
        print_name(json_array_get(images, i), &name);
        width = name.len > (size_t)width ? (int)name.len : width;
    }
    strbuf_fini(&name);
    width = width < 80 ? width : 80;
    printf("%-*s  %-19s  %10s  %10s  %-16s  %s\n", width, "IMAGE", "DIGEST", "SIZE", "SHARED",
           "LAST USED", "ORIGIN");
    for (size_t i = 0; i < json_array_size(images); i++)
        print_row(json_array_get(images, i), width);
}

static void print_names(const json_t *images)
{
    for (size_t i = 0; i < json_array_size(images); i++) {
        struct strbuf name = STRBUF_INIT;
        const json_t *image = json_array_get(images, i);
        if (json_is_string(image))
            strbuf_add_str(&name, json_string_value(image));
        else
            print_name(image, &name);
        printf("%s\n", name.ptr);
        strbuf_fini(&name);
    }
}

static void print_json(struct asking *a, const char *key, bool has_sum, bool is_dry)
{
    json_t *root = json_object();

    CHECK(root && (!has_sum || json_is_array(a->images)));
    json_object_set(root, key, a->images);
    if (has_sum) {
        json_object_set_new(root, "dry_run", json_boolean(is_dry));
        json_object_set_new(root, "evicted", json_integer(a->n_evicted));
        json_object_set_new(root, "blobs", json_integer(a->n_blobs));
        json_object_set_new(root, "bytes", json_integer(a->bytes));
        json_object_set_new(root, "kept", json_integer(a->n_kept));
    }
    json_dumpf(root, stdout, JSON_INDENT(2));
    printf("\n");
    json_decref(root);
}

static void print_sum(const struct asking *a, bool is_dry)
{
    char size[16];

    print_size(a->bytes, size);
    if (is_dry)
        printf("would go: %lld images, %s or more", (long long)a->n_evicted, size);
    else
        printf("evicted: %lld images, %lld blobs, %s", (long long)a->n_evicted,
               (long long)a->n_blobs, size);
    if (a->n_kept > 0)
        printf("; %lld stay (%s)", (long long)a->n_kept, a->kept);
    printf("\n");
}

/* --- commands --------------------------------------------------------------------------------- */

static int begin(struct asking *a, const char *command, const struct config *config)
{
    CHECK(command && config);
    a->command = command;
    a->images = json_array();
    CHECK(a->images);
    return admin_client_open(config, &a->client, &a->err);
}

/* The exit status. */
static int end(struct asking *a, int rc)
{
    admin_client_close(&a->client);
    json_decref(a->images);
    if (fflush(stdout) != 0) {
        perror("mirrord: standard output");
        return EXIT_FAILURE;
    }
    if (rc < 0)
        fprintf(stderr, "mirrord %s: %s\n", a->command, a->err.text);
    return rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* Each once: two patterns may both mean it. */
static json_t *distinct(const json_t *images)
{
    json_t *list = json_array(), *seen = json_object();
    struct strbuf name = STRBUF_INIT;

    CHECK(list && seen);
    for (size_t i = 0; i < json_array_size(images); i++) {
        json_t *image = json_array_get(images, i);
        strbuf_clear(&name);
        print_name(image, &name);
        if (json_object_get(seen, name.ptr))
            continue;
        json_object_set(seen, name.ptr, image);
        json_array_append(list, image);
    }
    strbuf_fini(&name);
    json_decref(seen);
    return list;
}

/* Latest use first. */
static int compare(const void *a, const void *b)
{
    const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
    json_int_t used_x = number_of(x, "last_use"), used_y = number_of(y, "last_use");

    if (used_x != used_y)
        return used_x < used_y ? 1 : -1;
    int order = strcmp(text_of(x, "repository", ""), text_of(y, "repository", ""));
    return order != 0 ? order : strcmp(text_of(x, "tag", ""), text_of(y, "tag", ""));
}

static json_t *sorted(const json_t *images)
{
    size_t n = json_array_size(images);
    json_t **rows = xcalloc(n + 1, sizeof(rows[0])), *list = json_array();

    CHECK(list);
    for (size_t i = 0; i < n; i++)
        rows[i] = json_array_get(images, i);
    qsort(rows, n, sizeof(rows[0]), compare);
    for (size_t i = 0; i < n; i++)
        json_array_append(list, rows[i]);
    free(rows);
    return list;
}

int image_command_ls(const struct command_line *line, struct config *config)
{
    struct asking a = {0};

    int rc = begin(&a, "ls", config);
    if (rc == 0 && line->n_operands == 0)
        rc = ask(&a, "GET", "/images");
    else if (rc == 0)
        rc = ask_each(&a, "GET", "/images?pattern=", line);
    if (rc == 0) {
        json_t *found = distinct(a.images), *list = sorted(found);
        json_decref(found);
        json_decref(a.images);
        a.images = list;
        if (line->is_json)
            print_json(&a, "images", false, false);
        else
            print_table(a.images);
    }
    return end(&a, rc);
}

static int change_pins(const struct command_line *line, struct config *config, const char *command,
                       const char *method)
{
    struct asking a = {0};

    int rc = begin(&a, command, config);
    a.wants_match = strcmp(method, "POST") == 0;
    if (rc == 0 && line->n_operands == 0)
        rc = ask(&a, "GET", "/pins");
    else if (rc == 0)
        rc = ask_each(&a, method, "/pins?image=", line);
    if (line->is_json && rc == 0)
        print_json(&a, "pins", false, false);
    else
        print_names(a.images);
    return end(&a, rc);
}

int image_command_pin(const struct command_line *line, struct config *config)
{
    return change_pins(line, config, "pin", "POST");
}

int image_command_unpin(const struct command_line *line, struct config *config)
{
    return change_pins(line, config, "unpin", "DELETE");
}

int image_command_evict(const struct command_line *line, struct config *config)
{
    struct asking a = {0};

    int rc = begin(&a, "evict", config);
    if (rc == 0)
        rc = ask_each(&a, "POST", line->is_dry ? "/evict?dry_run=1&image=" : "/evict?image=", line);
    if (line->is_json && rc == 0) {
        print_json(&a, "images", true, line->is_dry);
    } else {
        print_names(a.images);
        if (rc == 0)
            print_sum(&a, line->is_dry);
    }
    return end(&a, rc);
}
