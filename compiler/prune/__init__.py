"""Structured pruning without retraining: what to remove, how much of it, and how to make up for it."""
