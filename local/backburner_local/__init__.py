"""The whole stack on one machine: the template's functions over SQLite, files and emulators."""
