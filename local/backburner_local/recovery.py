"""After a crash: shards that were claimed but never reached the endpoint wait again.

On AWS nobody can tell such a shard from one whose result is late, so it waits for the end of its
lease. Here the emulator's queue tells.

After a power cut it does not: the endpoint waits for no disk, so its queue may know what it has
lost, and a result may be there by half. Then nothing of it is believed.
"""

from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path

from backburner.domain.shard import ShardStatus
from backburner.domain.slots import backend_of
from backburner.ports import AttemptState, Environment, Index
from backburner.services import records, sending
from backburner.wire.catalog import JOB_BACKENDS
from backburner_local.adapters.durable import write_secret

_PAGE = 100

#: Differs each time that Linux starts (proc(5)).
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
#: File of the data directory: the boot in which a stack ran on it last.
_LAST_BOOT = "boot"


def boot_id() -> str:
    """Names the time since the machine was started; empty where the system does not tell."""
    with suppress(OSError):
        return _BOOT_ID.read_text(encoding="ascii").strip()
    return ""


def is_other_boot(data_dir: Path) -> bool:
    """Whether the machine was started since a stack ran here, so that its power may have gone."""
    last = ""
    with suppress(FileNotFoundError):
        last = (data_dir / _LAST_BOOT).read_text(encoding="utf-8").strip()
    return last != boot_id()


def note_boot(data_dir: Path) -> None:
    """From now on, what the endpoint writes is believed until the machine is started again."""
    if is_other_boot(data_dir):
        write_secret(data_dir / _LAST_BOOT, boot_id())


def _lost(backend: str) -> AttemptState:
    """What is seen of an attempt that the backend never took, or has forgotten."""
    return AttemptState.ABSENT if backend in JOB_BACKENDS else AttemptState.UNKNOWN


def take_back(
    env: Environment, accepted: AbstractSet[str], *, believes_results: bool = True
) -> int:
    """Make shards in flight wait again that the endpoint does not know.

    Nothing may be sent to the endpoint, or told by it, meanwhile.

    Args:
        env: the world.
        accepted: attempts that the endpoint has accepted and not told of, as their inference ids.
        believes_results: whether a result that is there is whole; else it is removed.

    Returns:
        How many shards.
    """
    taken = 0
    after: str | None = None
    while True:
        items = env.store.query(records.DUE_SHARD, index=Index.DUE, after=after, limit=_PAGE)
        for item in items:
            after = str(item["due_sort"])
            shard = records.to_shard(item)
            if shard.status is not ShardStatus.IN_FLIGHT or str(shard.ref) in accepted:
                continue
            if shard.bundle is not None:  # that is looked at, for all who travel in it
                continue
            name = backend_of(shard.pool)
            found = env.backends[name].look(shard)
            if not believes_results and found.result_key is not None:
                env.blobs.delete(found.result_key)
            if not believes_results or found.state is _lost(name):
                sending.give_back(env, shard, pause=0.0)
                taken += 1
        if len(items) < _PAGE:
            return taken
