"""Certificates: computed after the run, in at least float64, by a route that does not share its randomness."""
