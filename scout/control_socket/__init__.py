"""The control socket: a running router seen and steered from another process (docs/control.md)."""
