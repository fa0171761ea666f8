"""The protocols of a router: Ethernet, ARP, IP with its routes, ICMP, UDP, TCP, and the sockets of applications."""
