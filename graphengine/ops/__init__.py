"""The op set and its contract: node classes, the registry, inference of shapes and dtypes."""
