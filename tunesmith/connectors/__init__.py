"""Doors to where private knowledge lives: each lists and reads documents, and says what it could not read."""
