"""Whether Application Auto Scaling may scale endpoints of the account."""

from collections.abc import Iterator

from botocore.exceptions import ClientError

from backburner_local.deployed import Account
from backburner_local.doctor.findings import Finding, Patient, Result

#: Application Auto Scaling user guide, "Service-linked roles".
_ROLE = "AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"
_SERVICE = "sagemaker.application-autoscaling.amazonaws.com"


def check_role(account: Account, _: Patient) -> Iterator[Finding]:
    """The service-linked role: made with the first scalable target, by whoever may make it."""
    try:
        account.clients.other("iam").get_role(RoleName=_ROLE)
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchEntity":
            raise
        detail = "not there yet; deploying makes it if iam:CreateServiceLinkedRole is allowed"
        create = f"aws iam create-service-linked-role --aws-service-name {_SERVICE}"
        yield Finding("scaling role", Result.WARN, detail, f"Else have it made: `{create}`.")
        return
    yield Finding("scaling role", Result.OK, "there")
