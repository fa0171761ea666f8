"""Simple stages that stand between protocols.

The stages of Ethernet, ARP, IP and ICMP are in `scout.paths.protocols`, those of services in `scout.paths.services`.
"""
