"""Every call that functions make to AWS, by function: what IAM must allow, and what it costs."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from tests.aws import capacity
from tests.aws.capacity import Image, Table

#: Calls made by nobody's function: the test looks, or plays a service.
OUTSIDE = ""

_Key = Mapping[str, Any]


@dataclass(slots=True, eq=False)
class Call:
    """One call of one function."""

    function: str
    #: As botocore's events name it, such as `dynamodb` or `sagemaker-runtime`.
    service: str
    operation: str
    parameters: Mapping[str, Any]
    #: Only a URL was made for someone else to make the call with.
    is_presigned: bool = False
    #: HTTP status of the answer; 0: there was none.
    status: int = 0
    write_units: float = 0.0
    read_units: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.service}:{self.operation}"


@dataclass(slots=True)
class Recorder:
    """Listens to clients."""

    #: Reads the table as it is; not recorded.
    dynamodb: Any
    table: Table
    #: Whether to find out what DynamoDB charges, which takes its time.
    charges: bool = True
    calls: list[Call] = field(default_factory=list)
    #: Whose calls are recorded now.
    function: str = OUTSIDE
    invocations: Counter[str] = field(default_factory=Counter)
    #: What happens just before the next calls of a service's operation.
    _planned: dict[tuple[str, str], list[Callable[[], object] | None]] = field(default_factory=dict)
    #: Items as they were last seen, by key.
    _images: dict[str, Image | None] = field(default_factory=dict)

    def attach(self, client: Any) -> None:
        """Record the calls of a client of the functions."""
        events = client.meta.events
        events.register_first("before-parameter-build", self._begin)
        events.register("before-call", self._act)
        events.register("after-call", self._end)

    def detach(self, client: Any) -> None:
        """Record no more."""
        events = client.meta.events
        events.unregister("before-parameter-build", self._begin)
        events.unregister("before-call", self._act)
        events.unregister("after-call", self._end)

    @contextmanager
    def running(self, function: str) -> Iterator[None]:
        """Calls in this block are those of one invocation of the function."""
        before, self.function = self.function, function
        self.invocations[function] += 1
        try:
            yield
        finally:
            self.function = before

    def of(self, function: str) -> list[Call]:
        return [call for call in self.calls if call.function == function]

    def names(self, function: str) -> list[str]:
        """Names of the function's calls, such as `s3:PutObject`."""
        return [call.name for call in self.of(function)]

    # ------------------------------------------------------------ faults

    def refuse(
        self,
        service: str,
        operation: str,
        code: str = "AccessDenied",
        *,
        status: int = 403,
        after: int = 0,
    ) -> None:
        """Have the next call of this kind answered with an error, after so many that go through."""
        about: Any = {
            "Error": {"Code": code, "Message": code},
            "ResponseMetadata": {"HTTPStatusCode": status},
        }

        def act() -> None:
            raise ClientError(about, operation)

        self.meanwhile(service, operation, act, after=after)

    def meanwhile(
        self, service: str, operation: str, act: Callable[[], object], *, after: int = 0
    ) -> None:
        """Act just before the next call of this kind goes out, after so many others."""
        self._planned[service, operation] = [*[None] * after, act]

    @property
    def is_all_done(self) -> bool:
        """Whether all that was planned has happened."""
        return not any(self._planned.values())

    def forget_calls(self) -> None:
        """Count from here on."""
        self.calls.clear()
        self.invocations.clear()

    def forget_plans(self) -> None:
        """What was planned and did not happen will not."""
        self._planned.clear()

    def _act(self, context: Mapping[str, Any], **_: Any) -> None:
        call = context.get("recorded")
        planned = self._planned.get((call.service, call.operation)) if call is not None else None
        act = planned.pop(0) if planned else None
        if act is not None:
            act()

    # ------------------------------------------------------------ listening

    def _begin(
        self, params: Mapping[str, Any], model: Any, context: dict[str, Any], **_: Any
    ) -> None:
        call = Call(
            function=self.function,
            service=model.service_model.service_id.hyphenize(),
            operation=model.name,
            parameters=dict(params),
            is_presigned=bool(context.get("is_presign_request")),
        )
        context["recorded"] = call
        self.calls.append(call)
        if self.charges and call.service == "dynamodb":
            for _kind, key in _written(self.table, call):
                self._image(key)

    def _end(self, parsed: Mapping[str, Any], context: Mapping[str, Any], **_: Any) -> None:
        call = context.get("recorded")
        if call is None:
            return
        call.status = parsed["ResponseMetadata"]["HTTPStatusCode"]
        if self.charges and call.service == "dynamodb":
            self._charge(call, parsed)

    def _charge(self, call: Call, answer: Mapping[str, Any]) -> None:
        is_transactional = call.operation == "TransactWriteItems"
        for kind, key in _written(self.table, call):
            before = self._image(key)
            after = before if kind == "ConditionCheck" else self._image(key, anew=True)
            call.write_units += capacity.write_units(
                self.table, before, after, is_transactional=is_transactional
            )
        call.read_units += _reads(call, answer)

    def _image(self, key: _Key, *, anew: bool = False) -> Image | None:
        name = str(sorted(key.items()))
        if anew or name not in self._images:
            answer = self.dynamodb.get_item(TableName=self.table.name, Key=key)
            self._images[name] = answer.get("Item")
        return self._images[name]


#: Operations that write one item, and what each is called in a transaction.
_SINGLE = {"PutItem": "Put", "UpdateItem": "Update", "DeleteItem": "Delete"}


def written(call: Call) -> list[tuple[str, Mapping[str, Any]]]:
    """What the call writes to the table: `Put`, `Update`, `Delete` or `ConditionCheck`, and with
    which parameters."""
    if call.operation in _SINGLE:
        return [(_SINGLE[call.operation], call.parameters)]
    if call.operation == "TransactWriteItems":
        return [next(iter(item.items())) for item in call.parameters["TransactItems"]]
    return []


def _written(table: Table, call: Call) -> list[tuple[str, _Key]]:
    return [
        (kind, {name: (given.get("Key") or given["Item"])[name] for name in table.keys})
        for kind, given in written(call)
    ]


def _reads(call: Call, answer: Mapping[str, Any]) -> float:
    given = call.parameters
    match call.operation:
        case "GetItem":
            each = 1.0 if given.get("ConsistentRead") else 0.5
            return capacity.read_units([answer.get("Item")], each=each)
        case "TransactGetItems":
            found = [one.get("Item") for one in answer.get("Responses", [])]
            return capacity.read_units(found, each=2.0)
        case "BatchGetItem":
            ((name, asked),) = given["RequestItems"].items()
            images = answer.get("Responses", {}).get(name, [])
            missing = [None] * (len(asked["Keys"]) - len(images))
            each = 1.0 if asked.get("ConsistentRead") else 0.5
            return capacity.read_units([*images, *missing], each=each)
        case "Query":
            is_consistent = bool(given.get("ConsistentRead"))
            return capacity.query_units(answer.get("Items", []), is_consistent=is_consistent)
    return 0.0
