"""The command line and everything behind it: commands, pictures, benchmarks, traffic."""
