"""Fits profiles to measurements and judges their predictions."""
