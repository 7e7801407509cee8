"""Figures; functions take a result and an axis."""
