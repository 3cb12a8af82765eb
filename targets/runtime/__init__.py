"""What runs on a device: backends, tokenizing, sessions, task decoding, self-test and bench."""
