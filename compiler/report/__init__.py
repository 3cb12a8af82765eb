"""What people read about a compile."""
