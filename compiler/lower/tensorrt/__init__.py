"""Lowering to TensorRT and TensorRT-RTX: a strongly typed graph, its rules, engines, simulation."""
