"""What eagerly costs, against its floor, the shapes that were rejected and its peers: ``python -m benchmarks``."""
