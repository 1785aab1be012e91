"""Readers and small seeded generators; nothing is downloaded."""

from __future__ import annotations

__all__: list[str] = []
