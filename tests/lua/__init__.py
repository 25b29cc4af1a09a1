"""Each script at a set clock, through its Python binding."""
