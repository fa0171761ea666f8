"""What people type and look at: the command line, pictures, rates, benchmarks."""
