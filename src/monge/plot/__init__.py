"""Pictures of couplings; matplotlib is imported when the first one is drawn."""

from __future__ import annotations

__all__: list[str] = []
