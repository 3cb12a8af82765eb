"""Makers of other tools' models: each runs in an interpreter of its own, which may lack bertc's packages."""
