"""What the operator of a one-machine stack may choose."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backburner.domain.retry import RetryPolicy
from backburner.ports import Limits

if TYPE_CHECKING:
    from backburner_local.adapters.smtp import SmtpServer

#: Where a stack keeps everything, unless it is told otherwise.
DATA_DIR = Path(".backburner")

DEFAULT_PORT = 8787


def stack_root() -> Path:
    """Folder with template.yaml, functions/ and model/: the checkout, or the installed copy."""
    installed = Path(__file__).parent / "_stack"
    return installed if installed.is_dir() else Path(__file__).parents[2]


#: Spans that suit one machine, where looking costs nothing and nothing is far away.
LOCAL_LIMITS = Limits(
    look_seconds=30.0,
    batch_check_seconds=15.0,
    work_seconds=60.0,
    joining_seconds=0.0,
    key_cache_seconds=1.0,
    wake_cooldown_seconds=10.0,
    sends_at_once=8,
    retry=RetryPolicy(base_seconds=1.0, max_seconds=60.0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to run the stack."""

    data_dir: Path = DATA_DIR
    host: str = "127.0.0.1"
    #: 0 takes a free one.
    port: int = DEFAULT_PORT
    #: Folder with template.yaml, functions/ and model/.
    root: Path = field(default_factory=stack_root)
    #: The catalog; None takes the one beside the template.
    catalog: Path | None = None
    #: Engine of the model's server: `openvino`, `null` or `openai`.
    engine: str = "openvino"
    #: OpenAI-compatible server that answers instead of a model of ours (engine `openai`).
    base_url: str | None = None
    #: Name that the other server knows its model by; becomes the catalog's only model.
    model: str | None = None
    #: Tokens of prompt and answer that the other server takes.
    context_window: int = 8192
    #: Length of a minute: of schedules, alarm periods and cool-downs.
    minute_seconds: float = 60.0
    #: How long a file in the drop folder must stay as it is before it is taken.
    settle_seconds: float = 1.0
    #: Time that an instance takes before its server is even started; on AWS, minutes.
    provisioning_seconds: float = 0.0
    #: Most instances at once.
    max_instances: int = 2
    #: Minutes without work after which the last instance is stopped.
    idle_minutes: int = 5
    #: Where users reach the gateway, for links, if a proxy stands before it; no slash at the end.
    public_url: str | None = None
    #: Server that mails are handed to; None: they stay in the outbox.
    smtp: "SmtpServer | None" = None
    #: Address that mails come from.
    mail_from: str = "backburner@localhost"
    #: Of the emulator of Bedrock, by name; see its module `knobs`.
    bedrock_knobs: Mapping[str, Any] = field(default_factory=dict)
    #: Whether webhooks may go to this machine, and without TLS.
    local_webhooks: bool = False
    limits: Limits = LOCAL_LIMITS
    #: Whether commits wait for the disk; tests need not.
    durable: bool = True

    @property
    def catalog_file(self) -> Path:
        return self.catalog or self.root / "model" / "catalog.toml"
