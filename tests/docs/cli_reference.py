"""Write docs/reference/cli.md from the command line's own help.

Usage: python -m tests.docs.cli_reference > docs/reference/cli.md
"""

from collections.abc import Iterator

import click

from backburner_local import cli

HEAD = """# The `backburner` command

Written from `--help` by `python -m tests.docs.cli_reference`; a test compares.

Commands that speak to a gateway take `--url` (or `BACKBURNER_URL`) and `--key` (or
`BACKBURNER_API_KEY`; else the key in the data folder's `dev.key`).

| exit code | means |
|---|---|
| 0 | done; of a batch that was watched: completed, and every request succeeded |
| 1 | the batch failed, expired or was cancelled; or the stack could not start |
| 2 | wrong use of the command |
| 3 | the batch is completed, but some requests failed |
| 4 | no gateway answers |
| 5 | the gateway refused the request |
"""


def commands(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[str, click.Command]]:
    """The command and all below it, with what one types to call them."""
    yield " ".join(path), command
    if isinstance(command, click.Group):
        for name in sorted(command.commands):
            yield from commands(command.commands[name], (*path, name))


def render() -> str:
    """The whole page."""
    parts = [HEAD]
    for path, command in commands(cli.main, ("backburner",)):
        context = click.Context(command, info_name=path, terminal_width=88, max_content_width=88)
        parts.append(f"\n## {path}\n\n```\n{command.get_help(context)}\n```\n")
    return "".join(parts)


if __name__ == "__main__":
    print(render(), end="")
