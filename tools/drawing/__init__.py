"""Pictures of graphs and paths, and plots."""
