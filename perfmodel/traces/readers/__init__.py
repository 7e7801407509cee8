"""Reads recordings that other programs made, each format in a module of its own."""
