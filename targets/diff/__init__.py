"""Two bundles side by side: what differs in what they record, with the standard library alone."""
