"""The adapter of a fixture runtime."""
