"""Simple stages that stand between protocols."""
