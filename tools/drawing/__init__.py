"""Pictures of router graphs and paths, and plots."""
