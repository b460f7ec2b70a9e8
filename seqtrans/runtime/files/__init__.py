"""Files: written whole, locked, recognized by their content, read as text."""
