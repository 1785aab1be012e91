"""Slices of circles and spheres."""
