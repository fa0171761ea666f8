"""TCP (RFC 9293): a connection's state, and what requests make of it. `docs/tcp.md` explains it."""
