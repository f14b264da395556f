"""Language: rows as conversations, and conversations as tokens. It knows no model and no loop."""
