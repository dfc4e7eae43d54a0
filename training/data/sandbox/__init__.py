"""Runs a row function that an agent or a user wrote, in a process that can compute and nothing else."""
