"""Continuous batching on the CPU: requests join and leave OpenVINO's pipeline between steps."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import openvino_genai as genai

from backburner_model.engines.chat import Body, read_chat, read_completion, refuse
from backburner_model.engines.frames import Ask, Reply
from backburner_model.engines.generation import (
    Defaults,
    Prompt,
    completion,
    generation_config,
    read_prompt,
)
from backburner_model.settings import Settings
from backburner_model.wire import CHAT, UNREADABLE, Answer, bad_request, invalid_body, server_error

logger = logging.getLogger(__name__)

#: Prompt tokens that a step takes in at most, so that long prompts do not hold up the others.
STEP_TOKENS = 512

#: Schemas remembered as compiling; after so many, each is proved again.
PROVED_SCHEMAS = 1000

FAILED = server_error("The model failed while answering.", code="engine_failure")
OUT_OF_MEMORY = server_error("The KV cache is full.", code="kv_cache_exhausted", status_code=503)
REFUSED = bad_request("The model's chat template or settings refuse this request.")
INVALID_SCHEMA = bad_request(
    "The JSON schema cannot be compiled.", param="response_format", code="invalid_schema"
)


@dataclass(slots=True, eq=False)
class Waiting:
    """A request that is understood, but not yet in the pipeline."""

    number: int
    body: Body
    #: What the answer must follow, if anything.
    schema: str | None


@dataclass(slots=True, eq=False)
class Running:
    """A request in the pipeline."""

    number: int
    body: Body
    prompt: Prompt
    handle: genai.GenerationHandle


class Scheduler:
    """Owns the pipeline; `run` belongs to one thread, `submit` and `cancel` to any."""

    def __init__(
        self, folder: Path, settings: Settings, publish: Callable[[list[Reply]], None]
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._publish = publish
        self._defaults = Defaults.from_folder(folder)
        self._wake = threading.Condition()
        self._asks: list[Ask] = []
        self._cancelled: set[int] = set()
        self._waiting: deque[Waiting] = deque()
        self._running: list[Running] = []
        #: The only running request's schema, if it may not compile.
        self._proving: str | None = None
        self._proved: set[str] = set()
        self._replies: list[Reply] = []

    def load(self) -> None:
        config = genai.SchedulerConfig()
        config.cache_size = self._settings.kv_cache_gb
        config.max_num_seqs = self._settings.max_batch
        config.max_num_batched_tokens = max(STEP_TOKENS, self._settings.max_batch)
        config.dynamic_split_fuse = True
        config.enable_prefix_caching = True
        is_exact = self._settings.precision == "f32"
        hints = ("INFERENCE_PRECISION_HINT", "KV_CACHE_PRECISION") if is_exact else ()
        self._pipeline = genai.ContinuousBatchingPipeline(
            str(self._folder), config, "CPU", dict.fromkeys(hints, "f32")
        )
        self._tokenizer = self._pipeline.get_tokenizer()

    def submit(self, ask: Ask) -> None:
        with self._wake:
            self._asks.append(ask)
            self._wake.notify()

    def cancel(self, number: int) -> None:
        with self._wake:
            self._cancelled.add(number)

    def run(self) -> None:
        while True:
            asks, cancelled = self._wait_for_work()
            for ask in asks:
                self._understand(ask)
            if cancelled:
                self._drop(cancelled)
            self._admit()
            if self._running:
                self._step()
            if self._replies:
                replies, self._replies = self._replies, []
                self._publish(replies)

    def _wait_for_work(self) -> tuple[list[Ask], set[int]]:
        with self._wake:
            while not (self._asks or self._waiting or self._running):
                self._wake.wait()
            asks, self._asks = self._asks, []
            cancelled, self._cancelled = self._cancelled, set()
            return asks, cancelled

    def _reply(self, number: int, answer: Answer) -> None:
        self._replies.append(Reply(number, answer.status_code, answer.body))

    def _understand(self, ask: Ask) -> None:
        try:
            body = read_chat(ask.body) if ask.route == CHAT else read_completion(ask.body)
            schema = body.json_schema
        except UNREADABLE as error:
            self._reply(ask.number, invalid_body(error))
            return
        if refusal := refuse(body, self._settings.model_name):
            self._reply(ask.number, refusal)
            return
        self._waiting.append(Waiting(ask.number, body, schema))

    def _drop(self, numbers: set[int]) -> None:
        """Let go of what nobody waits for; the pipeline does so at its next step."""
        self._waiting = deque(one for one in self._waiting if one.number not in numbers)
        for one in self._running:
            if one.number in numbers:
                one.handle.cancel()

    def _admit(self) -> None:
        """Let waiting requests join, but one with a schema that is not proved runs alone first.

        A schema that does not compile makes the step fail for all requests in the pipeline, and
        only with nobody else in it does the pipeline recover.
        """
        while self._waiting and len(self._running) < self._settings.max_batch:
            schema = self._waiting[0].schema
            is_unproved = schema is not None and schema not in self._proved
            if self._proving is not None or (is_unproved and self._running):
                return
            is_in = self._begin(self._waiting.popleft())
            if is_in and is_unproved:
                self._proving = schema

    def _begin(self, waiting: Waiting) -> bool:
        try:
            prompt = read_prompt(self._tokenizer, waiting.body, self._defaults)
            if isinstance(prompt, Answer):
                self._reply(waiting.number, prompt)
                return False
            config = generation_config(waiting.body, prompt, self._defaults)
            handle = self._pipeline.add_request(waiting.number, prompt.tokens, config)
        except Exception as error:  # noqa: BLE001 - no request may end the engine for the others
            # Not the message: it may hold a prompt.
            logger.warning("request.refused error=%s", type(error).__name__)
            self._reply(waiting.number, REFUSED)
            return False
        self._running.append(Running(waiting.number, waiting.body, prompt, handle))
        return True

    def _step(self) -> None:
        try:
            self._pipeline.step()
        except RuntimeError:  # what every C++ exception becomes
            self._recover()
            return
        if self._proving is not None:
            self._note_proof(self._proving, self._running[0].handle)
        self._running = [one for one in self._running if not self._is_over(one)]

    def _note_proof(self, schema: str, handle: genai.GenerationHandle) -> None:
        """A schema is compiled when the first token is chosen, not while the prompt is read."""
        status = handle.get_status()
        if status == genai.GenerationStatus.RUNNING and not handle.can_read():
            return
        if status != genai.GenerationStatus.CANCEL:
            if len(self._proved) >= PROVED_SCHEMAS:
                self._proved.clear()
            self._proved.add(schema)
        self._proving = None

    def _is_over(self, one: Running) -> bool:
        status = one.handle.get_status()
        if status == genai.GenerationStatus.RUNNING:
            return False
        if status == genai.GenerationStatus.FINISHED:
            self._reply(one.number, self._completion(one))
        elif status == genai.GenerationStatus.IGNORED:
            self._reply(one.number, OUT_OF_MEMORY)
        return True

    def _completion(self, one: Running) -> Answer:
        try:
            output = one.handle.read_all()[0]
            name = self._settings.model_name
            return completion(self._tokenizer, one.body, one.prompt, output, name)
        except Exception as error:  # noqa: BLE001 - as above
            logger.warning("request.failed error=%s", type(error).__name__)
            return FAILED

    def _recover(self) -> None:
        """After a failed step: blame the unproved schema, or else start the pipeline anew."""
        failed, self._running = self._running, []
        was_proving, self._proving = self._proving is not None, None
        if not was_proving:
            logger.error("engine.failed requests=%d", len(failed))
        for one in failed:
            self._reply(one.number, INVALID_SCHEMA if was_proving else FAILED)
            one.handle.cancel()
        if not was_proving or not self._has_let_go():
            self.load()

    def _has_let_go(self) -> bool:
        """Whether the pipeline is empty again after its only request was cancelled."""
        try:
            while self._pipeline.has_non_finished_requests():
                self._pipeline.step()
        except RuntimeError:
            return False
        return True
