"""What caching costs and keeps, against other libraries that cache: ``python -m benchmarks cache``."""
