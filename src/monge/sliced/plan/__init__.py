"""Plans of the whole space from plans on slices."""
