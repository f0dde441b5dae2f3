"""What a user holds: a `Model`, one `Run` of it, its predictions, gradient checks."""
