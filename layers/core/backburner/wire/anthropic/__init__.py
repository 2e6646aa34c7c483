"""Anthropic's Messages API on models that speak chat completions: both ways, and its batches."""
