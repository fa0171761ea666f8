"""The sending side of ports: what happens to packets that leave a path."""
