"""Protocol code: the router graph, path creation, stages, the compiler, the FIB."""
