"""Changes of a running router, as data."""
