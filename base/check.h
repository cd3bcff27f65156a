/*
 * CHECK(cond): an assertion that stays on in release builds. A failed one is our bug: the message,
 * then abort().
 */
#ifndef BASE_CHECK_H
#define BASE_CHECK_H

void check_failed(const char *expr, const char *file, int line, const char *func)
    __attribute__((noreturn));

#define CHECK(cond) ((cond) ? (void)0 : check_failed(#cond, __FILE__, __LINE__, __func__))

#endif
