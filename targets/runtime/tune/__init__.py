"""The measured search for how a bundle runs fastest on this machine."""
