"""From a path to code: native functions, and the same as plain Python.

`plan` lowers a path to data. `emit` writes the text of its native code from that plan, `generated` keeps the text as a
file, and `native` has numba compile it (`compile_path`), with the stage functions that `inlining` prepares.
`interpreter` walks the same plan as plain Python. Read them in this order.
"""
