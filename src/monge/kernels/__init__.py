"""The few hot loops that everything else is composed of; one folder each."""
