"""Optimal transport for deep learning, in PyTorch: everything is a Coupling."""
