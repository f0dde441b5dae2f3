"""The model file: its documents, reading with located errors, writing in one canonical form, its JSON Schema."""
