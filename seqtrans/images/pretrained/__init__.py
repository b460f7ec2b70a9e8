"""Weights of others for image models."""
