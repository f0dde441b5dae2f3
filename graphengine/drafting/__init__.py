"""Drafts of model files: what a table has in its columns, and a complete model for it."""
