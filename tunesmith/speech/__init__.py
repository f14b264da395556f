"""What tasks on speech have in common: recordings, transcripts and their layouts. It knows no loop and no report."""
