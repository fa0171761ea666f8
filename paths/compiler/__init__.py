"""From a path to code: native functions, and the same as plain Python."""
