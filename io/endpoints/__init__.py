"""Endpoints: applications in other processes and the replicas exchange data by shared memory (docs/endpoints.md)."""
