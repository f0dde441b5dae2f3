"""Graphs as ONNX models: rules that write an op as ONNX nodes, and what joins them to a model that is checked."""
