"""Seeing a model: its trace, pictures and pages. One data model, `Trace`, is what all of them are made of."""
