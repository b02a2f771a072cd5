"""Measurements side by side with what others use, recorded row by row."""
