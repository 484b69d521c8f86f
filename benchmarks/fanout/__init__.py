"""What a map costs on each engine, beside that engine used directly."""
