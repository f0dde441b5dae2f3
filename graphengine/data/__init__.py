"""Data sources, batches and the order of samples; large arrays stay on disk."""
