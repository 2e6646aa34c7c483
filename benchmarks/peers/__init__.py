"""What people would use instead, measured beside us."""
