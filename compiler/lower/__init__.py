"""From the IR and a quantization plan to what one runtime reads best."""
