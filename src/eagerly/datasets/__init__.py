"""Datasets: results saved under names that people choose, in formats that other programs read."""
