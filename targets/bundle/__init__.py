"""What a bundle is: its manifest, its path rules, its digests, and its reader. Standard library only."""
