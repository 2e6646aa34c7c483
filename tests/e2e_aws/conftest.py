"""One session: ministack, our emulator of SageMaker beside it, and the template deployed."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest

from backburner.services import keys
from tests.e2e_aws.certificate import make_certificate
from tests.e2e_aws.clients import Aws
from tests.e2e_aws.deploy import Deployment, deploy
from tests.e2e_aws.ministack import PYTHON, Ministack
from tests.e2e_aws.sagemaker import SageMaker
from tests.e2e_aws.servers import free_port
from tests.late import Late

if TYPE_CHECKING:
    import openai
else:
    openai = Late("openai")

TENANT: Final = "acme"


@dataclass(frozen=True, slots=True)
class World:
    """All that runs."""

    ministack: Ministack
    sagemaker: SageMaker
    deployment: Deployment

    @property
    def aws(self) -> Aws:
        return self.ministack.aws

    @property
    def bucket(self) -> str:
        return self.deployment.resources["Bucket"]

    def story(self) -> str:
        """What everyone logged last."""
        return "\n".join(
            [
                self.deployment.story(),
                "---- SageMaker's emulator",
                self.sagemaker.tail(),
                "---- ministack",
                self.ministack.server.tail(),
            ]
        )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Tell with a failure what the functions and the emulators logged."""
    report = yield
    world = getattr(item, "funcargs", {}).get("world")
    if report.failed and world is not None:
        report.sections.append(("functions and emulators", world.story()))
    return report


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    assert PYTHON.exists(), "`make e2e-aws` makes the virtual environment of ministack"
    folder = tmp_path_factory.mktemp("aws")
    certificate = make_certificate(folder)
    port = free_port()
    with ExitStack() as ended:
        sagemaker = SageMaker(folder, Aws(f"https://127.0.0.1:{port}", str(certificate.file)))
        ended.callback(sagemaker.server.end)
        variables = ("AWS_ENDPOINT_URL_SAGEMAKER", "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME")
        urls = dict.fromkeys(variables, sagemaker.url())
        ministack = Ministack(folder, port, certificate, urls)
        ended.callback(ministack.server.end)
        ministack.wait()
        try:
            deployment = deploy(ministack.aws)
            sagemaker.create_endpoint(
                bucket=deployment.resources["Bucket"],
                success_topic=deployment.resources["SuccessTopic"],
                error_topic=deployment.resources["ErrorTopic"],
            )
        except Exception as error:
            error.add_note(f"{ministack.server.tail()}\n{sagemaker.tail()}")
            raise
        yield World(ministack, sagemaker, deployment)


@pytest.fixture(scope="session")
def connect(world: World) -> Iterator[Callable[[str], "openai.OpenAI"]]:
    """The unmodified client of a tenant; closed at the end."""
    with ExitStack() as opened:

        def connect(tenant: str) -> "openai.OpenAI":
            secret, _ = keys.create(world.deployment.environment, tenant)
            url = f"{world.deployment.api_url}/v1"
            http = openai.DefaultHttpxClient(verify=world.aws.context)
            client = openai.OpenAI(
                base_url=url, api_key=secret, http_client=http, max_retries=0, timeout=60
            )
            return opened.enter_context(client)

        yield connect


@pytest.fixture(scope="session")
def ai(connect: Callable[[str], "openai.OpenAI"]) -> "openai.OpenAI":
    return connect(TENANT)
