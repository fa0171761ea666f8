"""Probes of what this machine allows: `scout doctor` runs them."""
