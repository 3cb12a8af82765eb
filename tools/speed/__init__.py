"""How fast a checkpoint's bundles answer beside what other quantizers make of it."""
