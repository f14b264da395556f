"""Pictures: rows as pictures with what stands in them. It knows no model and no loop."""
