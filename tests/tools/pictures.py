"""Graphs to draw, for tests: a router's path and graph, and variations of them."""

import networkx as nx


def ipv4_path() -> nx.DiGraph:
    """The path of a router with two ports, for what comes in at r0."""
    path = nx.DiGraph()
    for name, router, attributes in [
        ("r0 in", "left", {"kind": "port", "label": "r0", "note": "receive"}),
        ("left.in", "left", {}),
        ("arp.input", "arp", {"note": "replicated"}),
        ("consumed", "arp", {"kind": "port"}),
        ("ip.check", "ip", {}),
        ("ip.lookup", "ip", {"note": "FIB"}),
        ("icmp.echo", "icmp", {}),
        ("icmp.error", "icmp", {}),
        ("ip.ttl", "ip", {}),
        ("arp.resolve", "arp", {"note": "replicated"}),
        ("right.out", "right", {"note": "10.0.1.1/24"}),
        ("left.out", "left", {"note": "10.0.0.1/24"}),
        ("r1 out", "right", {"kind": "port", "label": "r1", "note": "transmit"}),
        ("r0 out", "left", {"kind": "port", "label": "r0", "note": "transmit"}),
        ("bad checksum", "ip", {"kind": "drop", "label": "drop"}),
        ("bad source", "ip", {"kind": "drop", "label": "drop"}),
        ("ttl 0", "ip", {"kind": "drop", "label": "drop"}),
    ]:
        path.add_node(name, router=router, **attributes)
    for source, target, service in [
        ("r0 in", "left.in", "frames"),
        ("left.in", "ip.check", "ipv4"),
        ("arp.input", "consumed", "done"),
        ("ip.check", "ip.lookup", "ipv4"),
        ("ip.lookup", "ip.ttl", "ipv4"),
        ("icmp.echo", "ip.ttl", "ipv4"),
        ("icmp.error", "ip.ttl", "ipv4"),
        ("ip.ttl", "arp.resolve", "ipv4"),
        ("arp.resolve", "right.out", "ethernet"),
        ("right.out", "r1 out", "frames"),
        ("left.out", "r0 out", "frames"),
    ]:
        path.add_edge(source, target, service=service, main=True)
    for source, target, attributes in [
        ("left.in", "arp.input", {"service": "arp"}),
        ("ip.lookup", "icmp.echo", {"service": "icmp", "outcome": "local"}),
        ("ip.lookup", "icmp.error", {"service": "icmp", "outcome": "no route"}),
        ("arp.resolve", "left.out", {"service": "ethernet"}),
        ("ip.check", "bad checksum", {"outcome": "checksum"}),
        ("ip.lookup", "bad source", {"outcome": "martian"}),
        ("ip.ttl", "ttl 0", {"outcome": "expired"}),
    ]:
        path.add_edge(source, target, **attributes)
    return path


def router_graph() -> nx.DiGraph:
    """The routers of which that path is made."""
    graph = nx.DiGraph(undirected=True)
    for router, note in [
        ("left", "10.0.0.1/24"),
        ("right", "10.0.1.1/24"),
        ("arp", ""),
        ("ip", ""),
        ("icmp", ""),
    ]:
        graph.add_node(router, router=router, kind="router", note=note)
    for lower, upper, service in [
        ("left", "arp", "arp"),
        ("right", "arp", "arp"),
        ("left", "ip", "ipv4"),
        ("right", "ip", "ipv4"),
        ("arp", "ip", "resolve"),
        ("ip", "icmp", "icmp"),
    ]:
        graph.add_edge(lower, upper, service=service)
    return graph


def with_cycle() -> nx.DiGraph:
    """The path with one port for both ways, and errors that are looked up again."""
    path = nx.relabel_nodes(ipv4_path(), {"r0 out": "r0 in"})
    path.remove_edge("icmp.error", "ip.ttl")
    path.add_edge("icmp.error", "ip.lookup", service="ipv4")
    return path


def with_shared_drop() -> nx.DiGraph:
    """The path with one drop for all stages."""
    drops = dict.fromkeys(["bad checksum", "bad source", "ttl 0"], "drop")
    return nx.relabel_nodes(ipv4_path(), drops)


def with_rates() -> nx.DiGraph:
    """The path as a live picture shows it."""
    path = ipv4_path()
    nx.set_edge_attributes(path, {edge: 40.0 * 3**i for i, edge in enumerate(path.edges)}, "rate")
    return path


GRAPHS = [ipv4_path, router_graph, with_cycle, with_shared_drop, with_rates]
