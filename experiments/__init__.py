"""Experiments that cost more than a chapter may, recorded row by row."""
