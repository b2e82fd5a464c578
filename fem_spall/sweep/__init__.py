"""Many cases from one file: a base case, axes over its keys, and what becomes of every point."""
