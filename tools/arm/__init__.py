"""What a runtime computes on another CPU, layer by layer."""
