"""The training room: engine, loop, optimizer, checkpoints. It knows no modality."""
