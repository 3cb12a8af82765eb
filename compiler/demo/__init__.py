"""`bertc demo`: real weights, compiled for this machine and compared with FP32."""

from __future__ import annotations

from compiler.demo.run import DemoResult, run_demo

__all__ = ["DemoResult", "run_demo"]
