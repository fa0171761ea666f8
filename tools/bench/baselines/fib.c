/*
 * fib: many lookups in Scout's FIB, one after another, or in batches of GROUP; see scout.tools.bench.fib.
 */
#include "fib.h"

static inline uint32_t next(uint32_t *state, const int64_t *hot, uint64_t hot_count)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return hot_count ? (uint32_t)hot[*state * hot_count >> 32] : *state;
}

int64_t lookups(uint64_t root, const uint32_t *entries, const uint64_t *vectors, uint64_t seed, const int64_t *hot,
                uint64_t hot_count, int64_t count)
{
    uint32_t state = (uint32_t)seed;
    int64_t total = 0;
    for (int64_t i = 0; i < count; i++)
        total += lookup(entries, vectors, root, next(&state, hot, hot_count));
    return total;
}

int64_t batches(uint64_t root, const uint32_t *entries, const uint64_t *vectors, uint64_t seed, const int64_t *hot,
                uint64_t hot_count, int64_t count)
{
    uint32_t state = (uint32_t)seed;
    uint64_t places[GROUP];
    int64_t total = 0;
    for (int64_t i = 0; i < count; i += GROUP) {
        for (int k = 0; k < GROUP; k++)
            places[k] = place_of(entries, vectors, root, next(&state, hot, hot_count));
        for (int k = 0; k < GROUP; k++)
            total += next_hop_at(entries, vectors, root, places[k]);
    }
    return total;
}
