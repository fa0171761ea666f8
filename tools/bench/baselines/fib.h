/*
 * The lookup in Scout's FIB (scout.paths.protocols.fib.layout has the format), as a C programmer would write it.
 */
#include <stdint.h>

enum { ESCAPE = 255, WIDE = 256, HOPS = 1024, OUTSIDE = 7 };

static inline const int32_t *next_hops_of(const uint32_t *entries, uint64_t root)
{
    return (const int32_t *)entries + 2 * root + HOPS;
}

static inline int64_t below(const uint32_t *entries, const uint64_t *vectors, const int32_t *next_hops, uint32_t unit,
                            uint32_t address)
{
    unit = entries[2 * (uint64_t)unit + OUTSIDE];
    for (uint64_t rest = (uint64_t)address << 50;; rest <<= 6) {
        const uint64_t *vector = vectors + unit;
        unsigned index = __builtin_popcountll(*vector >> (rest >> 58));
        uint8_t code = ((const uint8_t *)vector)[7 + index];
        if (code != ESCAPE)
            return next_hops[code];
        int32_t entry = entries[2 * ((uint64_t)unit + 1 + ((__builtin_popcountll(*vector) + 7) >> 3)) + index - 1];
        if (entry >= 0)
            return entry - WIDE;
        unit = (uint32_t)entry & 0x7fffffff;
    }
}

/* The first step: the unit of the node of an address, and the address; its line is asked for. */
static inline uint64_t place_of(const uint32_t *entries, const uint64_t *vectors, uint64_t root, uint32_t address)
{
    uint32_t unit = entries[2 * root + (address >> 22)] + (address >> 14) * 4;
    __builtin_prefetch(vectors + unit);
    return (uint64_t)unit << 32 | address;
}

/* The second step. */
static inline int64_t next_hop_at(const uint32_t *entries, const uint64_t *vectors, uint64_t root, uint64_t place)
{
    const int32_t *next_hops = next_hops_of(entries, root);
    const uint64_t *vector = vectors + (place >> 32);
    uint8_t code = ((const uint8_t *)vector)[7 + __builtin_popcountll(*vector >> (place >> 8 & 63))];
    if (__builtin_expect(code == ESCAPE, 0))
        return below(entries, vectors, next_hops, place >> 32, (uint32_t)place);
    return next_hops[code];
}

static inline int64_t lookup(const uint32_t *entries, const uint64_t *vectors, uint64_t root, uint32_t address)
{
    return next_hop_at(entries, vectors, root, place_of(entries, vectors, root, address));
}
