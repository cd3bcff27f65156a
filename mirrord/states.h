/*
 * The table of states of a story that waits: one row per state with its name, the states that may
 * follow, and whose turn it is meanwhile. Each story has one function that changes the state; it
 * checks the row, and logs the change by name.
 */
#ifndef MIRRORD_STATES_H
#define MIRRORD_STATES_H

/* One bit of state_row.next. */
#define TO(state) (1u << (state))

struct state_row {
    const char *name;
    unsigned next; /* set of allowed next states */
    const char *turn;
};

#endif
