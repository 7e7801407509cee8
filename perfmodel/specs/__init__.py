"""Frozen, validated descriptions of machines, devices, policies and scenarios."""
