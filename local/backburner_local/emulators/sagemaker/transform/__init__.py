"""SageMaker batch transform: jobs that run a model over objects, with instances of their own."""
