"""Demux: how the path of a packet is found, where several begin at one port.

`walk` follows the classifiers of the routers above a port (`scout.paths.model.classifier`), `pattern` turns the
attributes of a path into masked keys, and `table` has the keys in shared memory, where replicas find them.
"""
