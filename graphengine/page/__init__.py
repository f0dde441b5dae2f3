"""The interactive page: one HTML file that plays a training."""
