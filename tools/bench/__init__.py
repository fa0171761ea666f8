"""Benchmarks, each against a named baseline."""
