"""Traffic: generators, sinks, and real peers."""
