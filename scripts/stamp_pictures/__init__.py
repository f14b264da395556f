"""Pictures made by pasting stamps on photos; ``scripts/make_pictures.py`` is its door."""
