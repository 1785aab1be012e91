"""Transport of a part of the mass, on slices."""
