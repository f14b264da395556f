"""Is fine-tuning the cure: probes of one model on the same items, and the rule that names the cause of each failure."""
