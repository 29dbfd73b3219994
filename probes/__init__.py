"""Cheap findings about an operand, each with an interval."""
