"""Asynchronous LLM inference: the core that runs alike on AWS and on one machine."""
