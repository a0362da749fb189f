"""What runs leave on disk, and reading it again: identity, files, predictions, provenance."""
