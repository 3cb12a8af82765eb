"""Tests of bertc."""
