"""Side-by-side measurements: every figure that the documentation quotes is made here.

`python -m benchmarks` runs them all, `python -m benchmarks sliced` one of them. Each one first checks that the
contestants agree, then times them in turn in one process, and reports medians with their extremes.
"""
