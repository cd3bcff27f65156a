/*
 * The manual page's list of options, in mdoc(7), written from the table of options.
 * docs/man/mirrord.conf.5 is docs/man/mirrord.conf.5.in with this list in place of the line
 * OPTIONS_MAN_MARKER. Any thread.
 */
#ifndef MIRRORD_OPTIONS_MAN_H
#define MIRRORD_OPTIONS_MAN_H

#include "base/slice.h"
#include "base/strbuf.h"

#define OPTIONS_MAN_MARKER ".\\\" @OPTIONS@\n"

/* Only the list. */
void options_print_man(struct strbuf *out);
/* The whole page from its hand-written frame. 0, or -EINVAL when the frame has no marker. */
int options_print_man_page(struct slice frame, struct strbuf *out);

#endif
