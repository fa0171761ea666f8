"""Wire formats: one module for each header, and the arithmetic on headers.

Every module that describes a header has the same order:

1. the offsets of its fields in bytes, and `HEADER`, the size of the header without options;
2. the values of its fields: flags, types, numbers;
3. functions that read, check or write a header. They take `frame` and `end` as a stage gets them, and where a header
   may stand behind others, its offset `at` from `frame`.

The names are short, so import the module and write `tcp.FLAGS`, `ipv4.SOURCE`. Functions are imported by name: the
compiler compiles the functions that a stage names, and not those of a module.

Fields are in network byte order; the accessors (`scout.io.access`) convert. Nothing here keeps state, and nothing here
knows stages or routers.
"""
