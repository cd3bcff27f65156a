#include "config.h"

#include "tests/unit/cache_place.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <sched.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/check.h"

void place_init(struct place *p)
{
    memset(p, 0, sizeof(*p));
    snprintf(p->root, sizeof(p->root), "/tmp/mirrord-test-XXXXXX");
    CHECK(mkdtemp(p->root));
    p->config = (struct cache_config){
        .storage_path = p->root,
        .manifest_memory_bytes = 1024 * 1024,
        .open_files_max = 64,
        .open_files_valid_s = 60,
        .fill_running_max = 64,
        .fill_near_bytes = 64 * 1024,
        .fill_memory_bytes = 256 * 1024,
        .partial_max_age_s = 3600,
        .upload_max_age_s = 3600,
        .uploads_open_max = 8,
        .gc_grace_s = 3600,
        .gc_batch = 16,
    };
}

bool place_mount(struct place *p, size_t n_bytes)
{
    char options[64];

    snprintf(options, sizeof(options), "size=%zu", n_bytes);
    if (unshare(CLONE_NEWNS) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
        return false;
    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
    p->is_mounted = mount("none", p->root, "tmpfs", 0, options) == 0;
    return p->is_mounted;
}

void place_open(struct place *p)
{
    struct error err;

    p->pool = pool_new(3);
    p->config.pool = p->pool;
    for (unsigned i = 0; i < PLACE_WORKERS; i++) {
        p->workers[i] = worker_new(i);
        worker_start(p->workers[i]);
    }
    int rc = cache_open(&p->config, &p->cache, &err);
    if (rc < 0)
        fprintf(stderr, "%s\n", err.text);
    CHECK(rc == 0);
}

static void do_nothing(void *arg)
{
    (void)arg;
}

void place_settle(struct place *p)
{
    /* Mails cause errands and errands mails; chains are short. */
    for (unsigned turn = 0; turn < 4; turn++) {
        cache_drain(p->cache);
        for (unsigned i = 0; i < PLACE_WORKERS; i++)
            place_run(p, i, do_nothing, NULL);
    }
}

void place_close(struct place *p)
{
    place_settle(p);
    for (unsigned i = 0; i < PLACE_WORKERS; i++)
        worker_stop(p->workers[i]);
    for (unsigned i = 0; i < PLACE_WORKERS; i++)
        worker_join(&p->workers[i]);
    cache_close(&p->cache);
    pool_free(&p->pool);
}

void place_reopen(struct place *p)
{
    place_close(p);
    place_open(p);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path) < 0 && errno != EBUSY ? -1 : 0;
}

void place_fini(struct place *p)
{
    nftw(p->root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    if (p->is_mounted) {
        umount2(p->root, MNT_DETACH);
        rmdir(p->root);
    }
}

struct run {
    worker_fn fn;
    void *arg;
    struct moment over;
};

static void do_run(void *arg)
{
    struct run *r = arg;

    r->fn(r->arg);
    moment_come(&r->over);
}

void place_run(struct place *p, unsigned worker, worker_fn fn, void *arg)
{
    struct run r = {.fn = fn, .arg = arg};

    moment_init(&r.over);
    worker_call(p->workers[worker], do_run, &r);
    CHECK(moment_wait(&r.over));
    moment_fini(&r.over);
}

const char *place_path(struct place *p, const char *fmt, ...)
{
    static char paths[8][512];
    static unsigned next;
    char *out = paths[next++ % 8];
    va_list args;

    int n = snprintf(out, sizeof(paths[0]), "%s/", p->root);
    va_start(args, fmt);
    vsnprintf(out + n, sizeof(paths[0]) - (size_t)n, fmt, args);
    va_end(args);
    return out;
}

bool place_has(struct place *p, const char *path)
{
    (void)p;
    return access(path, F_OK) == 0;
}

size_t place_count(struct place *p, const char *path)
{
    size_t n = 0;
    DIR *folder = opendir(path);
    const struct dirent *entry;

    (void)p;
    while (folder && (entry = readdir(folder)))
        n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    if (folder)
        closedir(folder);
    return n;
}

void place_write(struct place *p, const char *path, const void *content, size_t n)
{
    char *copy = xstrdup(path);

    (void)p;
    for (char *slash = strchr(copy + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(copy, 0755);
        *slash = '/';
    }
    free(copy);
    FILE *file = fopen(path, "wb");
    CHECK(file);
    CHECK(n == 0 || fwrite(content, n, 1, file) == 1);
    fclose(file);
}

long place_read(struct place *p, const char *path, void *out, size_t n)
{
    FILE *file = fopen(path, "rb");

    (void)p;
    if (!file)
        return -1;
    size_t got = fread(out, 1, n, file);
    fclose(file);
    return (long)got;
}

uint8_t *place_content(size_t n, unsigned seed, struct digest *digest_out)
{
    uint8_t *content = xmalloc(n > 0 ? n : 1);
    uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;

    for (size_t i = 0; i < n; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        content[i] = (uint8_t)(x >> 24) | 1;
    }
    digest_of(DIGEST_SHA256, content, n, digest_out);
    return content;
}

const char *place_blob(struct place *p, const struct digest *d)
{
    char hex[DIGEST_TEXT_SIZE];

    digest_hex(d, hex);
    return place_path(p, "docker/registry/v2/blobs/%s/%.2s/%s/data", digest_alg_name(d->alg), hex,
                      hex);
}

const char *place_partial(struct place *p, const struct digest *d, const char *suffix)
{
    char hex[DIGEST_TEXT_SIZE];

    digest_hex(d, hex);
    return place_path(p, "_mirrord/fills/%s-%s.%s", digest_alg_name(d->alg), hex, suffix);
}

void moment_init(struct moment *m)
{
    m->impl = xcalloc(1, sizeof(sem_t));
    CHECK(sem_init(m->impl, 0, 0) == 0);
}

void moment_fini(struct moment *m)
{
    sem_destroy(m->impl);
    free(m->impl);
}

void moment_come(struct moment *m)
{
    CHECK(sem_post(m->impl) == 0);
}

bool moment_wait(struct moment *m)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
    while (sem_timedwait(m->impl, &until) < 0) {
        if (errno != EINTR)
            return false;
    }
    return true;
}
