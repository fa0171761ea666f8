"""Channels that bring packets to the replicas: Scout's own ring, and the kernel's receive ring."""
