"""The reference backend: a readable loop over the nodes that defines the right result."""
