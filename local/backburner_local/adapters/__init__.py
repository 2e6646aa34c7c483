"""The ports on one machine: SQLite, a directory, and this process."""
