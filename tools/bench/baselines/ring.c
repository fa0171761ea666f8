/*
 * ring: Scout's replicated channel in C, on the same shared memory (scout.ring.layout) and by the same protocol and
 * memory orders (scout.ring.batch, scout.ring.claims, scout.ring.election, scout.ring.producer), as a C programmer would
 * write it; with the loops of `scout bench channel`. And the paper's own scheme: a count for every entry that all replicas decrement.
 *
 * `keeps`, `laps`, `wakes` and `bell` are not needed by the benchmark and left out.
 */
#include <sched.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#define RELAX() __builtin_ia32_pause()
#else
#define RELAX() __asm__ volatile("yield")
#endif

enum { LINE = 64, HEADER = 16, TAIL = 0, LIMIT = 1, LOCK = 2, MEMBERS = 3, GATING = 4, SPINS = 64, AHEAD = 128 };
enum { CLAIM, REFCOUNT, MODULO };
enum { OWNER_BITS = 6, COUNT_BITS = 14, LAP_BITS = 43 };

struct channel {
    int64_t ring, entries, stride, words, members, marks, mark_count, mark_stride, lap_bits, policy, batch, group, interval,
        keeps, laps, wakes, bell;
};
struct member {
    int64_t head, controls, floor, controls_floor, state, tail, role, end, until, open, count, primary, last_granted, seen,
        claimed, replayed;
};
struct entry { int64_t mark; uint32_t length, spare; uint64_t payload[]; };

int64_t channel_bytes(void) { return sizeof(struct channel); }
int64_t member_bytes(void) { return sizeof(struct member); }

static inline int64_t *word(const struct channel *channel, int number)
{
    return (int64_t *)(channel->words + number * LINE);
}

static inline struct entry *slot_of(const struct channel *channel, int64_t number)
{
    return (struct entry *)(channel->ring + (number & (channel->entries - 1)) * channel->stride);
}

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static inline int64_t claim(const struct channel *channel, struct member *member, int64_t replica, int64_t most)
{
    int64_t head = member->head, *mark = &slot_of(channel, head)->mark;
    int64_t lap = head >> channel->lap_bits & ((1LL << LAP_BITS) - 1);
    int64_t found = __atomic_load_n(mark, __ATOMIC_ACQUIRE);
    if (found >> (OWNER_BITS + COUNT_BITS) != lap || !found) {
        int64_t mine = (lap << COUNT_BITS | most) << OWNER_BITS | (replica + 2);
        if (__atomic_compare_exchange_n(mark, &found, mine, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
            /* The end must not depend on the result of the exchange: the next exchange would wait for it. */
            member->role = 1;
            __atomic_store_n(&member->end, head + most, __ATOMIC_RELEASE);
            return head + most;
        }
    }
    member->role = (found & ((1 << OWNER_BITS) - 1)) == replica + 2;
    int64_t end = head + (found >> OWNER_BITS & ((1 << COUNT_BITS) - 1));
    __atomic_store_n(&member->end, end, __ATOMIC_RELEASE);
    if (member->tail < end)
        member->tail = end;
    return end;
}

static inline int64_t dequeue(struct entry *entry, int64_t replica)
{
    int64_t bit = 1LL << replica, before = __atomic_load_n(&entry->mark, __ATOMIC_ACQUIRE);
    while (!(before >> 32))
        if (__atomic_compare_exchange_n(&entry->mark, &before, (before & ~bit) | (replica + 1) << 32, 0,
                                        __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
            return 1;
    if (before >> 32 == replica + 1)
        return 1;
    if (before & bit)
        __atomic_fetch_sub(&entry->mark, bit, __ATOMIC_ACQ_REL);
    return 0;
}

static inline int64_t in_turn(int64_t members, int64_t replica, int64_t number)
{
    int64_t bit = 1LL << replica;
    return members & bit && number % __builtin_popcountll(members) == __builtin_popcountll(members & (bit - 1));
}

static inline int64_t open_batch(const struct channel *channel, struct member *member, int64_t replica)
{
    int64_t head = member->head;
    if (member->tail <= head) {
        member->tail = __atomic_load_n(word(channel, TAIL), __ATOMIC_ACQUIRE);
        if (member->tail <= head)
            return 0;
    }
    int64_t end = member->end;
    if (end <= head) {
        if (channel->policy == CLAIM) {
            int64_t most = least(member->tail - head, channel->interval - (head & (channel->interval - 1)));
            end = claim(channel, member, replica, least(most, channel->batch));
        } else {
            int64_t first = head & ~(channel->group - 1);
            struct entry *entry = slot_of(channel, first);
            if (channel->policy == REFCOUNT)
                member->role = dequeue(entry, replica);
            else
                member->role = in_turn(entry->mark, replica, first >> __builtin_ctzll(channel->group));
            end = first + channel->group;
            __atomic_store_n(&member->end, end, __ATOMIC_RELEASE);
        }
    }
    member->primary = member->role;
    member->open = 1;
    return member->count = least(end, member->tail) - head;
}

/* The entry at `index` of the batch at hand; asks for one that is to come, to be in the cache by then. */
static inline struct entry *entry_at(const struct channel *channel, const struct member *member, int64_t index)
{
    int64_t number = member->head + index;
    __builtin_prefetch(slot_of(channel, least(number + AHEAD, member->tail - 1)));
    return slot_of(channel, number);
}

static inline void close_batch(struct member *member)
{
    member->open = 0;
    member->seen += member->count;
    if (member->primary)
        member->claimed += member->count;
    int64_t head = member->head + member->count;
    __atomic_store_n(&member->head, head, __ATOMIC_RELEASE);
    __atomic_store_n(&member->floor, head, __ATOMIC_RELEASE);
}

static inline void wait(int64_t idle)
{
    if (idle < SPINS)
        RELAX();
    else
        sched_yield();
}

/* Dequeue `requests`, adding up the first `words` words of each; the sum. */
static inline int64_t drain_words(struct channel *channel, struct member *members, int64_t replica,
                                  int64_t requests, int64_t words)
{
    struct member *member = &members[replica];
    int64_t sum = 0, idle = 0;
    for (int64_t last = member->head + requests; member->head < last;) {
        int64_t count = open_batch(channel, member, replica);
        if (!count) {
            wait(idle++);
            continue;
        }
        idle = 0;
        for (int64_t i = 0; i < count; i++) {
            const uint64_t *payload = entry_at(channel, member, i)->payload;
            for (int64_t at = 0; at < words; at++)
                sum += payload[at];
        }
        close_batch(member);
    }
    return sum;
}

int64_t drain(struct channel *channel, struct member *members, int64_t replica, int64_t requests, int64_t words)
{
    return words == 1 ? drain_words(channel, members, replica, requests, 1)
                      : drain_words(channel, members, replica, requests, words);
}

/*
 * The paper's scheme, as cheap as it gets: one decrement an entry and replica. The replica that leaves one
 * less than all is the primary; the replica that leaves none advances the head of all. The entries are those that Scout's producer marked for
 * `refcount` with batches of one: the mask of members is as good a number to count down from as any.
 */
static inline int64_t drain_paper_words(struct channel *channel, struct member *members, int64_t replica,
                                        int64_t requests, int64_t words)
{
    struct member *member = &members[replica];
    int64_t all = *word(channel, MEMBERS), none = all - __builtin_popcountll(all);
    int64_t sum = 0, primary = 0, head = member->head, tail = head, last = head + requests;
    while (head < last) {
        if (tail <= head) {
            tail = __atomic_load_n(word(channel, TAIL), __ATOMIC_ACQUIRE);
            if (tail <= head) {
                RELAX();
                continue;
            }
        }
        struct entry *entry = slot_of(channel, head);
        __builtin_prefetch(slot_of(channel, least(head + AHEAD, tail - 1)));
        for (int64_t at = 0; at < words; at++)
            sum += entry->payload[at];
        int64_t left = __atomic_sub_fetch(&entry->mark, 1, __ATOMIC_ACQ_REL);
        if (left == all - 1)
            primary++;
        head++;
        if (left == none)       /* the last: frees the entry for the producer */
            __atomic_store_n(&members[0].floor, head, __ATOMIC_RELEASE);
    }
    member->head = head;
    member->claimed += primary;
    return sum;
}

int64_t drain_paper(struct channel *channel, struct member *members, int64_t replica, int64_t requests,
                    int64_t words)
{
    return words == 1 ? drain_paper_words(channel, members, replica, requests, 1)
                      : drain_paper_words(channel, members, replica, requests, words);
}

static int64_t lowest(const struct channel *channel)
{
    int64_t gating = __atomic_load_n(word(channel, GATING), __ATOMIC_SEQ_CST), low = INT64_MAX;
    const struct member *members = (const struct member *)channel->members;
    for (int replica = 0; gating >> replica; replica++)
        if (gating >> replica & 1)
            low = least(low, __atomic_load_n(&members[replica].floor, __ATOMIC_ACQUIRE));
    return low & ~(channel->group - 1);
}

static inline int64_t reserve(const struct channel *channel, int64_t tail, int64_t want)
{
    int64_t *limit = word(channel, LIMIT), *granted = limit + 1, *stamp = limit + 2;
    *stamp = __atomic_load_n(word(channel, MEMBERS), __ATOMIC_ACQUIRE);
    if (*granted - tail < want) {
        int64_t announced = lowest(channel) + channel->entries;
        if (announced > *granted) {
            __atomic_exchange_n(limit, announced, __ATOMIC_SEQ_CST);
            int64_t confirmed = least(announced, lowest(channel) + channel->entries);
            if (confirmed < *granted)
                confirmed = *granted;
            if (confirmed < announced)
                __atomic_store_n(limit, confirmed, __ATOMIC_RELEASE);
            *granted = confirmed;
        }
    }
    return least(want, *granted - tail);
}

static inline void publish(const struct channel *channel, int64_t tail, int64_t count)
{
    if (channel->policy != CLAIM) {
        int64_t members = word(channel, LIMIT)[2];
        for (int64_t at = (tail + channel->group - 1) & ~(channel->group - 1); at < tail + count; at += channel->group)
            slot_of(channel, at)->mark = members;
    }
    __atomic_store_n(word(channel, TAIL), tail + count, __ATOMIC_RELEASE);
}

/* Send `requests` of `length` bytes, up to `burst` at a time, their first word numbered from `first`; by turns
 * unless `producer` < 0. */
void feed(struct channel *channel, int64_t producer, int64_t first, int64_t requests, int64_t burst,
          const void *source, int64_t length)
{
    int64_t idle = 0;
    for (int64_t sent = 0; sent < requests;) {
        if (producer >= 0) {
            int64_t nobody = 0;
            while (!__atomic_compare_exchange_n(word(channel, LOCK), &nobody, producer + 1, 0, __ATOMIC_ACQ_REL,
                                                __ATOMIC_ACQUIRE)) {
                nobody = 0;
                wait(idle++);
            }
        }
        int64_t tail = *word(channel, TAIL), room = reserve(channel, tail, least(requests - sent, burst));
        for (int64_t i = 0; i < room; i++) {
            struct entry *entry = slot_of(channel, tail + i);
            memcpy(entry->payload, source, length);
            entry->payload[0] = first + sent + i;
            entry->length = length;
        }
        if (room)
            publish(channel, tail, room);
        if (producer >= 0)
            __atomic_store_n(word(channel, LOCK), 0, __ATOMIC_RELEASE);
        sent += room;
        idle = room ? 0 : idle + 1;
        if (!room)
            wait(idle);
    }
}
