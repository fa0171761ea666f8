/*
 * main_line: what Scout's path does with a packet on its main line, as a C programmer would write it.
 *
 * Ethernet destination and type, IPv4 header check (RFC 1812 section 5.2.2), longest prefix match by
 * Scout's FIB (scout.paths.protocols.fib.layout), TTL and checksum (RFC 1624), adjacency, MAC rewrite. It works on the same batches and tables
 * (scout.io.packet.PACKET, scout.paths.protocols.ipv4.NEXT_HOP, scout.paths.protocols.arp.ADJACENCY).
 *
 * With AHEAD=n the lookups of n packets are begun one right after another, as Scout does them: these then wait for memory
 * together.
 */
#include <stdint.h>
#include <string.h>

#include "fib.h"

struct packet {
    uint8_t *frame, *end, *tail;
    int64_t tail_bytes;
    uint8_t *origin;
    int64_t timestamp, port, at, egress, next_hop, destination, slot, error, held_since;
    uint8_t flags, gso_type;
    uint16_t header_bytes, gso_size, checksum_start, checksum_offset, ethertype;
    uint8_t link_broadcast, control, spare[2];
};

struct next_hop { int64_t kind, port, address, slot, source, spare[3]; };
struct adjacency { int64_t key, mac, expires, state; };

enum { FORWARDED, SHORT, NOT_MINE, NOT_IPV4, BAD_HEADER, BAD_CHECKSUM, BAD_LENGTH, MARTIAN, TELNET, NO_ROUTE,
       NOT_FORWARDED, EXPIRED, TOO_BIG, CONNECTED, UNRESOLVED, STALE };

static inline uint16_t load16(const uint8_t *p) { uint16_t v; memcpy(&v, p, 2); return __builtin_bswap16(v); }
static inline uint32_t load32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return __builtin_bswap32(v); }
static inline void store16(uint8_t *p, uint16_t v) { v = __builtin_bswap16(v); memcpy(p, &v, 2); }

static inline int header_is_good(const uint8_t *ip)
{
    uint64_t sum = 0;
    for (int i = 0; i < 20; i += 4) {
        uint32_t word;
        memcpy(&word, ip + i, 4);
        sum += word;
    }
    return sum % 0xffff == 0;           /* and is not 0, because the version is not */
}

static inline int one(struct packet *packet, uint64_t mac, uint64_t out_mac, uint64_t root,
                      const uint32_t *entries, const uint64_t *vectors, const struct next_hop *next_hops,
                      const int64_t *mtus, const struct adjacency *adjacencies, const uint8_t *suspects,
                      int64_t refresh, int64_t *stale)
{
    uint8_t *frame = packet->frame, *ip = frame + 14;
    int64_t size = packet->end - frame + packet->tail_bytes - 14;

    if (packet->end - frame < 34)
        return SHORT;
    if (((uint64_t)load32(frame) << 16 | load16(frame + 4)) != mac)
        return NOT_MINE;
    if (load16(frame + 12) != 0x0800)
        return NOT_IPV4;
    if (ip[0] != 0x45)
        return BAD_HEADER;
    if (!header_is_good(ip))
        return BAD_CHECKSUM;
    int total = load16(ip + 2);
    if (total < 20 || total > size)
        return BAD_LENGTH;
    if (total < size) {                 /* the link's padding; the tail is the end of a long frame */
        int64_t surplus = size - total, kept = packet->tail_bytes > surplus ? packet->tail_bytes - surplus : 0;
        packet->end -= surplus - (packet->tail_bytes - kept);
        packet->tail_bytes = kept;
    }
    if (suspects[ip[12]])
        return MARTIAN;
    if (suspects[256 + ((uint32_t)(load32(ip + 12) * 0x5e3779b1u) >> 20)])    /* perhaps the router's own */
        return MARTIAN;
#ifdef USER_STAGE                       /* no_telnet of scout.tools.bench.stages */
    if (ip[9] == 6 && packet->end - ip >= 24 && load16(ip + 22) == 23)
        return TELNET;
#endif
#ifdef AHEAD
    int64_t index = packet->next_hop = next_hop_at(entries, vectors, root, packet->next_hop);
#else
    int64_t index = lookup(entries, vectors, root, load32(ip + 16));
    packet->next_hop = index;
#endif
    if (index < 0)
        return NO_ROUTE;
    const struct next_hop *hop = &next_hops[index];
    if (hop->kind > 1 || packet->link_broadcast)
        return NOT_FORWARDED;
    if (ip[8] <= 1)
        return EXPIRED;
    if (total > mtus[hop->port])
        return TOO_BIG;
    ip[8]--;
    uint32_t sum = (load16(ip + 10) ^ 0xffff) + 0xfeff;
    store16(ip + 10, ~((sum & 0xffff) + (sum >> 16)));
    if (hop->slot < 0)                  /* a neighbour on a connected network, to be found by its address */
        return CONNECTED;
    const struct adjacency *adjacency = &adjacencies[hop->slot];
    if (packet->timestamp >= adjacency->expires)
        return UNRESOLVED;
    if (packet->timestamp > adjacency->expires - refresh)
        (*stale)++;                     /* to be asked for anew */
    uint64_t head = __builtin_bswap64((uint64_t)adjacency->mac << 16 | out_mac >> 32);
    uint32_t rest = __builtin_bswap32((uint32_t)out_mac);
    uint16_t type = __builtin_bswap16(0x0800);
    memcpy(frame, &head, 8);
    memcpy(frame + 8, &rest, 4);
    memcpy(frame + 12, &type, 2);
    packet->egress = hop->port;
    return FORWARDED;
}

void path(int64_t runs, struct packet *batch, int64_t count, int64_t *counters, uint64_t mac, uint64_t out_mac,
          uint64_t root, const uint32_t *entries, const uint64_t *vectors, const struct next_hop *next_hops,
          const int64_t *mtus, const struct adjacency *adjacencies, const uint8_t *suspects, int64_t refresh)
{
    for (int64_t run = 0; run < runs; run++)
    for (int64_t i = 0; i < count; i++) {
#ifdef AHEAD
        if (i % AHEAD == 0)
            for (int64_t j = i; j < i + AHEAD && j < count; j++)
                if (batch[j].end - batch[j].frame >= 34)
                    batch[j].next_hop = place_of(entries, vectors, root, load32(batch[j].frame + 30));
#endif
        int verdict = one(&batch[i], mac, out_mac, root, entries, vectors, next_hops, mtus, adjacencies,
                          suspects, refresh, &counters[STALE]);
        if (verdict != FORWARDED)
            batch[i].egress = -1;
        counters[verdict]++;
    }
}
