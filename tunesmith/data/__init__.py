"""Rows in: reading, keeping, splitting and judging them. It knows no model and no recipe."""
