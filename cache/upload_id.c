#include "config.h"

#include "cache/upload_private.h"

#include <stdio.h>
#include <sys/random.h>

#include "base/check.h"

#define ID_LEN (UPLOAD_ID_SIZE - 1)

static bool is_dash_place(size_t i)
{
    return i == 8 || i == 13 || i == 18 || i == 23;
}

bool upload_id_is_valid(struct slice id)
{
    if (id.len != ID_LEN)
        return false;
    for (size_t i = 0; i < id.len; i++) {
        char c = id.ptr[i];
        bool is_hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
        if (is_dash_place(i) ? c != '-' : !is_hex)
            return false;
    }
    return true;
}

/* RFC 9562, section 5.4: version 4. */
void upload_id_make(char out[UPLOAD_ID_SIZE])
{
    uint8_t b[16];
    size_t n = 0;

    CHECK(getrandom(b, sizeof(b), 0) == sizeof(b));
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    for (size_t i = 0; i < sizeof(b); i++) {
        if (is_dash_place(n))
            out[n++] = '-';
        n += (size_t)snprintf(out + n, UPLOAD_ID_SIZE - n, "%02x", b[i]);
    }
    CHECK(n == ID_LEN);
}
