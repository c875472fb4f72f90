/** near.h: the right word that somebody meant by a wrong one: for "did you mean".
 *  Thread: any; nothing is kept. */
#ifndef CORE_BASE_NEAR_H
#define CORE_BASE_NEAR_H

#include "core/compiler.h"

/** The candidate nearest to `word`, or NULL when none is near. */
const char *near_word(const char *word, const char *const *candidates, size_t n);
/** How many letters must be added, removed, changed or swapped with their neighbour. */
size_t near_distance(const char *a, const char *b);

#endif
