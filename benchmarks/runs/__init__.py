"""What records of runs cost."""
