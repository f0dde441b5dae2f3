"""What there is to say: of each op and function, and of each error code."""
