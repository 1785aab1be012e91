"""Run benchmarks: all of them, or those named on the command line."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

# Hours of training: only if named.
LONG = {"long_range"}


def main() -> None:
    """Run the benchmarks that the command line names."""
    known = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))
    chosen = sys.argv[1:] or [name for name in known if name not in LONG]
    unknown = [name for name in chosen if name not in known]
    if unknown:
        sys.exit(f"No benchmark is called {', '.join(unknown)}: choose from {', '.join(known)}.")
    for name in chosen:
        importlib.import_module(f"benchmarks.{name}").main()


if __name__ == "__main__":
    main()
