"""An account that the stack is deployed in: what the template declares, as moto has it."""

from backburner.adapters.clients import Clients
from tests.aws.stack import Stack

#: Verified; mails come from it.
SENDER = "backburner@example.com"

#: Of EventBridge; events come on it where the stack is told so.
BUS = "events"

_OF_TABLES = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")
_OF_QUEUES = ("VisibilityTimeout", "MessageRetentionPeriod")


def create(clients: Clients, stack: Stack) -> None:
    """Make the stack's table, bucket, queues, topics and endpoint."""
    for name, given in stack.of_type("AWS::DynamoDB::Table").items():
        clients.dynamodb.create_table(TableName=name, **{one: given[one] for one in _OF_TABLES})
    for name in stack.of_type("AWS::S3::Bucket"):
        clients.s3.create_bucket(Bucket=name)
    for name, given in stack.of_type("AWS::SQS::Queue").items():
        attributes = {one: str(given[one]) for one in _OF_QUEUES if one in given}
        clients.sqs.create_queue(QueueName=name, Attributes=attributes)  # type: ignore[arg-type]
    for name in stack.of_type("AWS::SNS::Topic"):
        clients.sns.create_topic(Name=name)
    clients.sesv2.create_email_identity(EmailIdentity=SENDER)
    for name in stack.of_type("AWS::SES::ConfigurationSet"):
        clients.sesv2.create_configuration_set(ConfigurationSetName=name)
    clients.events.create_event_bus(Name=BUS)
    create_endpoint(clients, stack)


def create_endpoint(clients: Clients, stack: Stack) -> None:
    """The endpoint, of no instances."""
    sagemaker = clients.sagemaker
    for name in stack.of_type("AWS::SageMaker::Endpoint"):
        role = "arn:aws:iam::123456789012:role/model"
        sagemaker.create_model(ModelName=name, ExecutionRoleArn=role)
        sagemaker.create_endpoint_config(
            EndpointConfigName=name,
            ProductionVariants=[
                {
                    "VariantName": "AllTraffic",
                    "ModelName": name,
                    "InstanceType": "ml.g4dn.2xlarge",  # of those that moto knows
                    "InitialInstanceCount": 1,
                }
            ],
        )
        sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        sagemaker.update_endpoint_weights_and_capacities(
            EndpointName=name,
            DesiredWeightsAndCapacities=[{"VariantName": "AllTraffic", "DesiredInstanceCount": 0}],
        )


def delete_endpoint(clients: Clients, stack: Stack) -> None:
    for name in stack.of_type("AWS::SageMaker::Endpoint"):
        clients.sagemaker.delete_endpoint(EndpointName=name)
