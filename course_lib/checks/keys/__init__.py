"""The answer keys, one module a chapter: what is asked of an answer to an exercise."""
