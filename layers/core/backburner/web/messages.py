"""The routes of single Messages."""

from backburner.services.fitting import prompt_tokens
from backburner.services.submit import no_model
from backburner.web.call import Call
from backburner.wire.anthropic import params
from backburner.wire.bodies import Body


def count_tokens(call: Call) -> Body:
    """`POST /v1/messages/count_tokens`: what the model would read, and nothing is run."""
    request = params.parse(call.body() | {"max_tokens": 1}, line=1, custom_id="count")
    model = call.env.catalog.get(request.model)
    if model is None:
        raise no_model(request.model)
    tokens, is_counted = prompt_tokens(call.env, request, model, dialect="anthropic")
    return {"input_tokens": tokens, "x_counted_by": "tokenizer" if is_counted else "bytes"}
