"""What is claimed of this course, proved by measuring: `python -m proofs`."""
