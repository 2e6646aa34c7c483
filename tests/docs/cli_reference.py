"""Write docs/reference/cli.md from the command line's own help.

Usage: python -m tests.docs.cli_reference > docs/reference/cli.md
"""

from collections.abc import Iterator

import click

from backburner_local import cli

HEAD = """# The `backburner` command

Written from `--help` by `python -m tests.docs.cli_reference`; a test compares.

Commands that speak to a gateway take `--url` (or `BACKBURNER_URL`) and `--key` (or
`BACKBURNER_API_KEY`; else the key in the data folder's `dev.key`). Commands with `--stack` work
on a stack on AWS by its name, with the credentials that the AWS CLI would take.

| exit code | means |
|---|---|
| 0 | done; of a batch that was watched: completed, and every request succeeded |
| 1 | the batch failed, expired or was cancelled; the stack could not start; a check failed |
| 2 | wrong use of the command |
| 3 | the batch is completed, but some requests failed |
| 4 | no gateway answers; or AWS, or the stack there, can't be worked with |
| 5 | the gateway refused the request |
"""


def contexts(context: click.Context) -> Iterator[click.Context]:
    """The context of a command, and of all commands below it."""
    yield context
    if isinstance(context.command, click.Group):
        for name in sorted(context.command.list_commands(context)):
            command = context.command.get_command(context, name)
            assert command is not None
            yield from contexts(click.Context(command, info_name=name, parent=context))


def render() -> str:
    """The whole page."""
    parts = [HEAD]
    top = click.Context(
        cli.main,
        info_name="backburner",
        terminal_width=88,
        max_content_width=88,
        **cli.main.context_settings,
    )
    for context in contexts(top):
        help_text = context.command.get_help(context)
        parts.append(f"\n## {context.command_path}\n\n```\n{help_text}\n```\n")
    return "".join(parts)


if __name__ == "__main__":
    print(render(), end="")
