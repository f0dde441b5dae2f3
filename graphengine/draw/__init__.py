"""Pictures: layout of graphs, SVG, diagrams, charts."""
