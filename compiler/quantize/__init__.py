"""The quantizer: statistics, smoothing, ranges and weights, written down as a plan beside the graph."""
