/*
 * fib: many lookups in Scout's FIB, one after another.
 */
#include "fib.h"

void lookups(uint64_t root, const uint32_t *entries, const uint64_t *vectors, const int64_t *addresses,
             int64_t *next_hops, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        next_hops[i] = lookup(entries, vectors, root, (uint32_t)addresses[i]);
}
