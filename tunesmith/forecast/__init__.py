"""What a run will take before it begins: memory, disk, time, rows; and what to change where it does not fit.

Nothing here loads weights. What is read from headers alone imports no torch.
"""
