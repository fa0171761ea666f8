"""The machine that Scout runs on: namespaces, links and processes."""
