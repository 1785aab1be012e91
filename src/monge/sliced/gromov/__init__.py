"""Gromov-Wasserstein transport on slices."""
