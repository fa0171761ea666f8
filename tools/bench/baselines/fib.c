/*
 * fib: many lookups in Scout's FIB, one after another; see scout.tools.bench.fib.
 */
#include "fib.h"

int64_t lookups(uint64_t root, const uint32_t *entries, const uint64_t *vectors, uint64_t seed, const int64_t *hot,
                uint64_t hot_count, int64_t count)
{
    uint32_t state = (uint32_t)seed;
    int64_t total = 0;
    for (int64_t i = 0; i < count; i++) {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        total += lookup(entries, vectors, root, hot_count ? (uint32_t)hot[state * hot_count >> 32] : state);
    }
    return total;
}
