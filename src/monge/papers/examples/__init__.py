"""One script for each paper of this distribution: ``python -m monge.papers.examples.lotformer``."""
