"""One script for each paper of this distribution: ``python -m monge_papers.examples.comp_sum``."""
