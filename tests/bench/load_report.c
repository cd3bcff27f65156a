#include "config.h"

#include "tests/bench/load_report.h"

#include "base/alloc.h"
#include "base/check.h"
#include "tests/bench/load_connection.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static struct load_sample *new_samples(struct load_report *report, size_t n)
{
    if (report->n_samples + n > report->n_room) {
        report->n_room = 2 * report->n_room + n + 64;
        report->samples = xrealloc(report->samples, report->n_room * sizeof(*report->samples));
    }
    report->n_samples += n;
    return report->samples + report->n_samples - n;
}

void load_report_add(struct load_report *report, const struct load_connection *conn)
{
    CHECK(conn->end_ns >= conn->first_ns && conn->first_ns >= conn->head_ns);
    *new_samples(report, 1) = (struct load_sample){
        (double)(conn->head_ns - conn->start_ns) / 1e9,
        (double)(conn->first_ns - conn->start_ns) / 1e9,
        (double)(conn->end_ns - conn->start_ns) / 1e9,
    };
}

void load_report_merge(struct load_report *report, const struct load_report *other)
{
    if (other->n_samples > 0)
        memcpy(new_samples(report, other->n_samples), other->samples,
               other->n_samples * sizeof(*other->samples));
    report->n_bytes += other->n_bytes;
    report->n_errors += other->n_errors;
    if (report->first_error == NULL)
        report->first_error = other->first_error;
}

static int by_value(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;

    return (left > right) - (left < right);
}

/* The member at `offset` of all samples: its distribution. */
static void print_times(const struct load_report *report, const char *name, size_t offset,
                        FILE *out)
{
    static const struct {
        const char *name;
        double share;
    } ranks[] = {{"min", 0}, {"p50", 0.5}, {"p99", 0.99}, {"max", 1}};
    size_t n = report->n_samples;
    double *values = xcalloc(n + 1, sizeof(*values));

    for (size_t i = 0; i < n; i++)
        memcpy(&values[i], (const char *)&report->samples[i] + offset, sizeof(*values));
    qsort(values, n, sizeof(*values), by_value);
    fprintf(out, ", \"%s\": {", name);
    for (size_t i = 0; i < sizeof(ranks) / sizeof(*ranks); i++) {
        /* The nearest rank: the smallest value that this share of all does not exceed. */
        size_t rank = (size_t)(ranks[i].share * (double)n + 0.999999);
        fprintf(out, "%s\"%s\": %.9f", i > 0 ? ", " : "", ranks[i].name,
                n > 0 ? values[rank > 0 ? rank - 1 : 0] : 0.0);
    }
    fprintf(out, "}");
    free(values);
}

void load_report_print(struct load_report *report, double elapsed_s, FILE *out)
{
    struct rusage used;

    getrusage(RUSAGE_SELF, &used);
    fprintf(out, "{\"elapsed_s\": %.9f, \"requests\": %zu, \"bytes\": %llu, \"errors\": %llu",
            elapsed_s, report->n_samples, (unsigned long long)report->n_bytes,
            (unsigned long long)report->n_errors);
    fprintf(out, ", \"error\": \"%s\"", report->first_error != NULL ? report->first_error : "");
    fprintf(out, ", \"client_cpu_s\": %.6f",
            (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
    print_times(report, "head_s", offsetof(struct load_sample, head_s), out);
    print_times(report, "first_byte_s", offsetof(struct load_sample, first_s), out);
    print_times(report, "request_s", offsetof(struct load_sample, total_s), out);
    fprintf(out, "}\n");
}

void load_report_fini(struct load_report *report)
{
    free(report->samples);
    report->samples = NULL;
    report->n_samples = report->n_room = 0;
}
