"""Settings of the functions, from the environment, read once."""

from collections.abc import Mapping
from dataclasses import dataclass

from backburner.domain.errors import BackburnerError


class MissingSetting(BackburnerError):  # noqa: N818 - reads as a sentence where it is caught
    """A variable that the functions need is not set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the template tells each function. Field names are the variables' names in lower case."""

    #: Bucket of files, shard inputs and results.
    bucket_name: str
    #: Endpoint that the SageMaker backend invokes where the catalog names none of its own.
    endpoint_name: str = ""
    #: Where users reach the API, for links; no slash at the end.
    public_url: str = ""
    #: Tenant that files of the drop folder belong to.
    drop_tenant: str = "default"

    @classmethod
    def from_environment(cls, variables: Mapping[str, str]) -> "Settings":
        """Read the variables; raises MissingSetting that names the one."""
        try:
            return cls(
                bucket_name=variables["BUCKET_NAME"],
                endpoint_name=variables.get("ENDPOINT_NAME", ""),
                public_url=variables.get("PUBLIC_URL", "").rstrip("/"),
                drop_tenant=variables.get("DROP_TENANT", "default"),
            )
        except KeyError as error:
            raise MissingSetting(f"The variable {error.args[0]} is not set.") from error
