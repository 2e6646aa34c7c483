"""The environment on one machine: SQLite, files, an outbox, and AWS's backends."""

import secrets
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from backburner import bootstrap
from backburner.adapters.clients import Clients
from backburner.adapters.system import SystemIds
from backburner.adapters.webhook import HttpsWebhooks
from backburner.domain.catalog import Catalog
from backburner.domain.errors import Conflict
from backburner.ports import Environment, Events, Mailer, TokenCounter
from backburner.services import keys
from backburner.wire import catalog as catalog_file
from backburner.wire.dialects import DIALECTS
from backburner.wire.shard import JsonlShards
from backburner_local.adapters.clock import StoppableClock
from backburner_local.adapters.durable import write_secret
from backburner_local.adapters.event_log import EventLog
from backburner_local.adapters.events import LocalEvents
from backburner_local.adapters.files import DirectoryBlobs
from backburner_local.adapters.metrics import LocalMetrics
from backburner_local.adapters.outbox import OutboxMailer
from backburner_local.adapters.queue import SqliteQueue
from backburner_local.adapters.sqlite import Database
from backburner_local.adapters.store import SqliteStore
from backburner_local.options import Options
from backburner_local.template import ACCOUNT, REGION, Template

#: Folders of the bucket that users open themselves.
USER_FOLDERS = ("drop", "results", "rejected")

#: Role that jobs of the emulated Bedrock say they run in.
BEDROCK_ROLE = f"arn:aws:iam::{ACCOUNT}:role/backburner-bedrock-jobs"

#: Events that were published, in the data directory.
EVENTS = "events.jsonl"

#: Routes that any OpenAI-compatible server may be asked for.
OTHER_ROUTES = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalWorld:
    """An environment, with what only a stack on one machine knows of its adapters."""

    env: Environment
    events: LocalEvents
    queue: SqliteQueue
    blobs: DirectoryBlobs
    metrics: LocalMetrics
    store: SqliteStore
    clock: StoppableClock
    bucket_folder: Path
    _ending: ExitStack

    @classmethod
    def open(
        cls,
        options: Options,
        declared: Template,
        *,
        url: str = "",
        aws: Clients | None = None,
        bus: Events | None = None,
    ) -> Self:
        """Open the data directory, or make it.

        Args:
            options: the operator's.
            declared: the template; names the bucket and the queues.
            url: where the gateway is; links begin with it, unless users reach it elsewhere.
            aws: clients of the emulated endpoint; None: nothing is sent to one.
            bus: where events go to, beside their topic; None: nowhere.
        """
        url = options.public_url or url
        with ExitStack() as ending:
            clock = StoppableClock()
            database = Database(options.data_dir / "backburner.sqlite", durable=options.durable)
            ending.callback(database.close)
            max_receives = {queue_name(n): c.max_receives for n, c in declared.queues.items()}
            queue = SqliteQueue(database, clock, max_receives=max_receives)
            ending.callback(queue.close)
            (bucket,) = declared.of_type("AWS::S3::Bucket").values()
            name = str(bucket["BucketName"])
            blobs = DirectoryBlobs(
                options.data_dir / "buckets",
                name,
                clock,
                _secret(options.data_dir / "sign.key").encode(),
                url,
                durable=options.durable,
                kept_folders=[f"{folder}/" for folder in USER_FOLDERS],
            )
            events = LocalEvents()
            log = EventLog(options.data_dir / EVENTS)
            ending.callback(log.close)
            events.subscribe(log.write)
            metrics = LocalMetrics()
            catalog = _catalog(options, declared)
            clients = aws or Clients(region_name=REGION, is_signed=False)
            store = SqliteStore(database)
            env = Environment(
                store=store,
                blobs=blobs,
                queue=queue,
                backends=bootstrap.backends(
                    clients, blobs, options.limits, clock=clock, role_arn=BEDROCK_ROLE
                ),
                mailer=_mailer(options, clock),
                events=events,
                bus=bus,
                webhooks=HttpsWebhooks(may_be_local=options.local_webhooks),
                metrics=metrics,
                clock=clock,
                ids=SystemIds(clock),
                catalog=catalog,
                dialects=DIALECTS,
                shards=JsonlShards(),
                limits=options.limits,
                tokenizers=_tokenizers(options, catalog),
                public_url=url,
            )
            bucket_folder = options.data_dir / "buckets" / name
            _link_user_folders(options.data_dir, bucket_folder)
            return cls(
                env=env,
                events=events,
                queue=queue,
                blobs=blobs,
                metrics=metrics,
                store=store,
                clock=clock,
                bucket_folder=bucket_folder,
                _ending=ending.pop_all(),
            )

    def sweep(self) -> int:
        """Remove records whose time has passed; returns how many."""
        return self.store.sweep(self.env.clock.now())

    def close(self) -> None:
        """Write what is pending and close the database."""
        self._ending.close()

    def find_signed(self, path_and_query: str) -> Path | None:
        """The file that a signed link opens now, or None: it opens nothing."""
        key = self.blobs.verify(path_and_query)
        path = self.bucket_folder / key if key is not None else None
        return path if path is not None and path.is_file() else None


def queue_name(logical_id: str) -> str:
    """Name of the queue that the template calls so: `plan` for `PlanQueue`."""
    return logical_id.removesuffix("Queue").lower()


def _secret(path: Path) -> str:
    """The secret in the file, which only its owner may read; made if there is none."""
    if not path.exists() or not path.read_text(encoding="utf-8").strip():
        write_secret(path, secrets.token_urlsafe(32))
    return path.read_text(encoding="utf-8").strip()


def ensure_dev_key(env: Environment, path: Path) -> None:
    """Make a development key, unless the file holds one. The store is told of it if it is new.

    A key that was revoked has no file any more: see `forget_dev_key`.
    """
    if not path.exists() or not path.read_text(encoding="utf-8").strip():
        write_secret(path, f"bb-{env.ids.secret()}\n")
    with suppress(Conflict):  # the store knows it
        keys.create(env, env.drop_tenant, secret=path.read_text(encoding="utf-8").strip())


def forget_dev_key(path: Path, revoked: keys.ApiKey) -> bool:
    """Remove the file if it holds the key that was revoked: the next start makes another."""
    if path.exists():
        secret = path.read_text(encoding="utf-8").strip()
        if keys.digest_of(secret) == revoked.digest:
            path.unlink()
            return True
    return False


def _mailer(options: Options, clock: StoppableClock) -> Mailer:
    if options.smtp is None:
        return OutboxMailer(options.data_dir / "outbox", options.mail_from, clock)
    from backburner_local.adapters.smtp import SmtpMailer  # few need it, and it is slow to import

    return SmtpMailer(options.smtp, options.mail_from, clock)


def _catalog(options: Options, declared: Template) -> Catalog:
    text = options.catalog_file.read_text(encoding="utf-8")
    own = catalog_file.OwnEndpoint(
        name=declared.variables["ENDPOINT_NAME"],
        max_instances=options.max_instances,
        concurrent_invocations=int(declared.variables["CONCURRENT_INVOCATIONS"]),
    )
    catalog = catalog_file.parse(text, own)
    if options.model is not None:  # the other server's, run as the first of the catalog
        other = replace(
            next(iter(catalog.models.values())),
            name=options.model,
            context_window=options.context_window,
            routes=OTHER_ROUTES,
            tokenizer=None,
        )
        return Catalog({other.name: other})
    return catalog


def _tokenizers(options: Options, catalog: Catalog) -> dict[str, TokenCounter]:
    """A counter for each model whose tokenizer is at hand."""
    counters: dict[str, TokenCounter] = {}
    for model in catalog.models.values():
        path = options.catalog_file.parent / (model.tokenizer or "")
        if path.is_file():
            counters[model.name] = _Counter(path)
    return counters


class _Counter:
    """Counts tokens with a Hugging Face tokenizer, loaded when it is first needed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tokenizer: Any = None

    def __call__(self, text: str) -> int:
        from tokenizers import Tokenizer

        if self._tokenizer is None:
            self._tokenizer = Tokenizer.from_file(str(self._path))
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)


def _link_user_folders(data_dir: Path, bucket_folder: Path) -> None:
    for name in USER_FOLDERS:
        folder = bucket_folder / name
        folder.mkdir(parents=True, exist_ok=True)
        link = data_dir / name
        if link.is_symlink():
            link.unlink()  # the data directory may have been moved
        if not link.exists():
            link.symlink_to(folder.relative_to(data_dir), target_is_directory=True)
