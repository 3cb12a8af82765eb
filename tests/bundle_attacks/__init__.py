"""Hostile bundles and archives, made by code, and one harness that runs the real commands over each.

What must hold for every one of them is in `check.py`; how a command is watched is in `child.py`. Each other
module holds the attacks of one kind.
"""
