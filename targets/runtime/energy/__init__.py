"""Energy of what runs on this machine, by the counters and sensors that the machine exposes."""
