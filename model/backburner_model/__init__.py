"""What runs inside an endpoint: the container contract in front of an engine."""
