"""The protocols of a router: Ethernet, ARP, IP, ICMP."""
