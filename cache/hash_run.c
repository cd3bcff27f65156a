#include "config.h"

#include "cache/hash_run.h"

#include <fcntl.h>

#include "base/check.h"
#include "cache/disk.h"

#define PIECE_BYTES (64 * 1024) /* fits the stack of a pool thread and its core's cache */

int hash_run(struct hasher *h, int fd, uint64_t off, uint64_t end)
{
    char piece[PIECE_BYTES];
    int rc = 0;

    CHECK(off <= end);
    while (off < end && rc == 0) {
        size_t n = end - off < PIECE_BYTES ? (size_t)(end - off) : PIECE_BYTES;
        rc = disk_pread(fd, piece, n, off);
        if (rc == 0)
            hasher_update(h, piece, n);
        off += n;
    }
    return rc;
}

void hash_run_write_out(int fd, uint64_t off, uint64_t end)
{
    if (end > off)
        sync_file_range(fd, (off_t)off, (off_t)(end - off), SYNC_FILE_RANGE_WRITE);
}
