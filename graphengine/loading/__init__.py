"""From a document to a graph: names get their meaning, calls of functions become nodes, sizes are counted first."""
