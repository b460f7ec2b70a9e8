"""Faster equals of torch functions, each with its reference in a parity test."""
