"""The router graph, paths and stages, as data."""
