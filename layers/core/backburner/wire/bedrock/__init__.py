"""What Bedrock's batch jobs read and write: OpenAI's bodies as each model has them, and back."""
