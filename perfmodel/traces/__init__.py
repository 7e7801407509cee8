"""Which pages a program accesses, one after the other: the same numbers in every world."""
