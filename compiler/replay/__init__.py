"""A bundle compiled again from its own record."""
