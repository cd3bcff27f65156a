/*
 * Why something failed, for a person. A function that can fail for reasons worth telling returns a
 * negative errno and fills a struct error whose text reads "what, on what: why", lower case, no
 * full stop. Lives on the caller's stack or in the object that failed; owns no memory. Any thread.
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

struct error {
    int code; /* negative errno, 0 = no error */
    char text[256];
};

/* Fills *err (NULL is allowed) and returns `code`, so that a caller can return error_set(...). */
int error_set(struct error *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The same, with ": strerror(code)" behind the text. */
int error_sys(struct error *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Puts "fmt: " in front of what *err says; keeps and returns its code. */
int error_wrap(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
