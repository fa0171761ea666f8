"""The registry of sockets, in the supervisor's process (docs/endpoints.md)."""
