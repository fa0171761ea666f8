"""Channels that bring packets to the replicas: Scout's own ring, and the kernel's receive ring.

Each has a class that opens it (`software`, `kernel_ring`) and compiled operations that a domain's loop calls
(`software_operations`, `kernel_ring_operations`); `contract` declares both. The rules of the kernel's ring beyond those
of every channel are in `kernel_ring_protocol`, and the layout of its frames in `kernel_ring_frame`.
"""
