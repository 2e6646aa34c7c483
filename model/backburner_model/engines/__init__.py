"""The engines, and which setting picks which."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backburner_model.settings import InvalidSettingError

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from backburner_model.engine import Engine
    from backburner_model.settings import Settings

ENGINES = ("asgi", "null", "openai", "openvino")


def engine_for(settings: Settings, app: ASGIApp) -> Engine:
    """Build the engine; each one's libraries are imported only when it is picked."""
    if settings.engine == "asgi":
        from backburner_model.engines.asgi import AsgiEngine

        return AsgiEngine(app)
    if settings.engine == "null":
        from backburner_model.engines.null import NullEngine

        return NullEngine(settings)
    if settings.engine == "openai":
        from backburner_model.engines.openai_compatible import OpenaiCompatibleEngine

        return OpenaiCompatibleEngine(settings)
    if settings.engine == "openvino":
        from backburner_model.engines.openvino import OpenvinoEngine

        return OpenvinoEngine(settings)
    message = f"BACKBURNER_ENGINE must be one of {', '.join(ENGINES)}, not {settings.engine!r}"
    raise InvalidSettingError(message)
