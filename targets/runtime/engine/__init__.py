"""TensorRT engines: built on a device or ahead of time, and run."""
