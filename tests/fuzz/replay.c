/*
 * Replays a corpus through a fuzz target that was built without a fuzzer, so that every input which
 * once broke a parser is tried again by make check. Arguments are files or folders; without any,
 * the target's own corpus below $srcdir (set by make check) is used. Prints how many inputs went
 * through; a crash is the failure.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned n_inputs;

static int replay_file(const char *path, size_t size)
{
    /* An exact allocation, so that a read past the end is seen by AddressSanitizer. */
    uint8_t *data = malloc(size > 0 ? size : 1);
    FILE *file = fopen(path, "rb");
    int result = -1;

    if (data != NULL && file != NULL && fread(data, 1, size, file) == size) {
        LLVMFuzzerTestOneInput(data, size);
        n_inputs++;
        result = 0;
    } else {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
    }
    if (file != NULL)
        fclose(file);
    free(data);
    return result;
}

static int replay_path(const char *path);

static int replay_folder(const char *path)
{
    char child[PATH_MAX];
    struct dirent *entry;
    int result = 0;
    DIR *folder = opendir(path);

    if (folder == NULL) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return -1;
    }
    while ((entry = readdir(folder)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        if (snprintf(child, sizeof(child), "%s/%s", path, entry->d_name) >= (int)sizeof(child))
            continue;
        if (replay_path(child) < 0)
            result = -1;
    }
    closedir(folder);
    return result;
}

static int replay_path(const char *path)
{
    struct stat st;

    if (stat(path, &st) < 0) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return -1;
    }
    return S_ISDIR(st.st_mode) ? replay_folder(path) : replay_file(path, (size_t)st.st_size);
}

/* tests/fuzz/fuzz_head replays tests/fuzz/corpus/head. */
static int replay_own_corpus(const char *program)
{
    char path[PATH_MAX];
    const char *source = getenv("srcdir");
    const char *name = strrchr(program, '/');

    name = name != NULL ? name + 1 : program;
    if (strncmp(name, "fuzz_", 5) == 0)
        name += 5;
    if (source == NULL)
        source = ".";
    if (snprintf(path, sizeof(path), "%s/tests/fuzz/corpus/%s", source, name) >= (int)sizeof(path))
        return -1;
    return replay_path(path);
}

int main(int argc, char **argv)
{
    int result = 0;

    if (argc < 2)
        result = replay_own_corpus(argv[0]);
    for (int i = 1; i < argc; i++) {
        if (replay_path(argv[i]) < 0)
            result = -1;
    }
    printf("%u inputs replayed\n", n_inputs);
    return result == 0 && n_inputs > 0 ? 0 : 1;
}
