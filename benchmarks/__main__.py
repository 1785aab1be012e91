"""Run benchmarks: all of them, or those named on the command line."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

# Hours of training: only if named.
LONG = {"long_range"}


def main() -> None:
    """Run the benchmarks that the command line names."""
    here = Path(__file__).parent
    found = [*here.glob("*.py"), *(path.parent for path in here.glob("*/__init__.py"))]
    known = sorted(path.stem for path in found if not path.stem.startswith("_"))
    chosen = sys.argv[1:] or [name for name in known if name not in LONG]
    unknown = [name for name in chosen if name.partition(".")[0] not in known]
    if unknown:
        sys.exit(f"No benchmark is called {', '.join(unknown)}: choose from {', '.join(known)}.")
    for name in chosen:
        room, _, only = name.partition(".")
        importlib.import_module(f"benchmarks.{room}").main(*filter(None, [only]))


if __name__ == "__main__":
    main()
