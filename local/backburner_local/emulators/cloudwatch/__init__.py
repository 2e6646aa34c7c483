"""CloudWatch metrics and alarms, as far as scaling an endpoint needs them."""
