"""What a quantization plan computes, to the last integer: a prediction for CPUs that are not here."""
