"""Ports: Scout's objects for network interfaces, pcap files and memory."""
