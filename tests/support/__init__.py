"""What the tests share: tiny checkpoints, tokenizers, data files and comparisons."""
