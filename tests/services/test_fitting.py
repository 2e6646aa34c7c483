"""Whether a request fits: by bytes where that is certain, else by counting."""

import pytest

from backburner.domain.errors import InvalidLine
from backburner.domain.request import Request
from backburner.services.fitting import Fitting, is_too_long
from tests.world import CHAT, World, a_catalog, a_model


@pytest.mark.parametrize(
    ("words", "is_counted", "expected"),
    [
        (10, True, False),
        (60, True, False),
        (200, True, True),
        (200, False, False),
        (2000, False, True),
    ],
)
def test_tokens_are_counted_only_where_the_bytes_leave_doubt(world, words, is_counted, expected):
    model = a_model(context_window=128, template_tokens=8, longest_token_bytes=16)
    text = "word " * words
    body = b'{"model":"tiny","messages":[{"role":"user","content":"%s"}]}' % text.encode()
    counted: list[str] = []

    def count(prompt: str) -> int:
        counted.append(prompt)
        return len(prompt.split())

    request = Request(
        line=1,
        custom_id="r",
        model=model.name,
        route="/v1/chat/completions",
        body=body,
        prompt_bytes=len(text),
    )
    env = world.env
    object.__setattr__(env, "tokenizers", {model.name: count} if is_counted else {})
    assert is_too_long(env, request, model, dialect="openai") is expected
    assert bool(counted) == (is_counted and 60 <= words <= 200)


def test_images_go_only_to_models_that_take_them(tmp_path):
    catalog = a_catalog(a_model("blind"), a_model("seeing", takes_images=True))
    world = World(tmp_path, catalog=catalog)

    def asking(model: str) -> Request:
        return Request(line=1, custom_id="r", model=model, route=CHAT, body=b"{}", has_images=True)

    fitting = Fitting(world.env, dialect="openai")
    assert fitting.model_of(asking("seeing")).name == "seeing"
    with pytest.raises(InvalidLine, match="'blind' takes no images") as raised:
        fitting.model_of(asking("blind"))
    assert (raised.value.param, raised.value.custom_id) == ("body.messages", "r")
    world.close()
