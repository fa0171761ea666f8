"""Endpoints: how applications in other processes and the replicas exchange data in shared memory (docs/endpoints.md)."""
