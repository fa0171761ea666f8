"""Wire formats: where the fields of a header are, and the arithmetic on them."""
