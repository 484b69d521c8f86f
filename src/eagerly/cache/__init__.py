"""Cached results: what people import who choose a store, teach a class to be part of a key, or write a store."""
