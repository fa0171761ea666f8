"""Shared memory between domains: atomics, segments, replicated channels. Knows nothing of packets."""
