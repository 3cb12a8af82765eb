"""The intermediate representation: onnx_ir, and what bertc adds to it."""
