"""The folder that mutmut works in: it finds packages only beside it or in `src`.

It holds links to this checkout, and in `mutants/` the mutated copies and what became of them.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

import libcst as cst
from mutmut.mutation.file_mutation import compute_function_hashes, create_mutations
from mutmut.mutation.trampoline_templates import mangle_function_name
from mutmut.utils.format_utils import get_mutant_name, mangled_name_from_mutant_name

ROOT = Path(__file__).parents[2]
STAGE = ROOT / ".mutate"
STATS = STAGE / "mutants/mutmut-stats.json"
#: Which tests run which function: all that mutmut saw, before the list was cut.
TESTS = STAGE / "tests.json"

LINKS = {
    "src/backburner": "layers/core/backburner",
    **{name: name for name in ("tests", "functions", "events", "docs")},
    **{name: name for name in ("template.yaml", "pyproject.toml")},
    "backburner_local": "local/backburner_local",
}

#: Keyword arguments that no world on one machine keeps: S3's adapters have tests of their own.
KEPT_BY_S3_ALONE = frozenset({"content_type"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One change of the code."""

    #: As mutmut calls it: module, mangled function, number.
    name: str
    source: Path
    #: The rule by which it is not run; None: it is.
    skipped_by: str | None

    @property
    def module(self) -> str:
        return ".".join(self.source.with_suffix("").parts[1:])


def prepare() -> None:
    """Make the stage, or bring it up to date."""
    for name, target in LINKS.items():
        link = STAGE / name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(os.path.relpath(ROOT / target, link.parent))


def mutants() -> list[Mutant]:
    """All mutants of the domain and the services."""
    with chdir(STAGE):
        folders = [Path("src/backburner/domain"), Path("src/backburner/services")]
        sources = sorted(path for folder in folders for path in folder.rglob("*.py"))
        return [mutant for source in sources for mutant in _of(source)]


def _of(source: Path) -> Iterator[Mutant]:
    """Numbered as mutmut does it: in each function, as they are found."""
    module, mutations, _, _ = create_mutations(str(source), source.read_text(encoding="utf-8"))
    names = dict(_functions(module))
    numbers: Counter[str] = Counter()
    for mutation in mutations:
        function = names.get(mutation.contained_by_top_level_function)
        if function is not None:
            numbers[function] += 1
            yield Mutant(
                name=get_mutant_name(source, f"{function}__mutmut_{numbers[function]}"),
                source=source,
                skipped_by=_rule(mutation.original_node, mutation.mutated_node),
            )


def _functions(module: cst.Module) -> Iterator[tuple[cst.CSTNode, str]]:
    """Functions and methods, and what mutmut calls them."""
    for statement in module.body:
        if isinstance(statement, cst.FunctionDef):
            yield statement, mangle_function_name(name=statement.name.value, class_name=None)
        elif isinstance(statement, cst.ClassDef):
            for method in statement.body.body:
                if isinstance(method, cst.FunctionDef):
                    class_name = statement.name.value
                    yield (
                        method,
                        mangle_function_name(name=method.name.value, class_name=class_name),
                    )


def _rule(before: cst.CSTNode, after: cst.CSTNode) -> str | None:
    """Why no test should tell this mutant from the original."""
    if isinstance(before, cst.SimpleString) and " " in before.value:
        return "wording"
    if isinstance(before, cst.Call) and isinstance(after, cst.Call):
        kept = {id(argument) for argument in after.args}
        changed = [one for one in before.args if id(one) not in kept]
        if {one.keyword.value for one in changed if one.keyword} & KEPT_BY_S3_ALONE:
            return "content type"
    if isinstance(before, cst.SimpleString) and before.raw_value.startswith("application/"):
        return "content type"
    return None


def verdicts() -> dict[str, int | None]:
    """What became of each mutant: pytest's exit status, or mutmut's own; None: not run yet.

    Those of functions that have changed since are left out.
    """
    found: dict[str, int | None] = {}
    for path in (STAGE / "mutants/src").rglob("*.py.meta"):
        source = STAGE / path.relative_to(STAGE / "mutants").with_suffix("")
        meta = json.loads(path.read_bytes())
        now = compute_function_hashes(source.read_text(encoding="utf-8")) if source.exists() else {}
        for name, status in meta["exit_code_by_key"].items():
            function = mangled_name_from_mutant_name(name).rpartition(".")[2]
            if meta["hash_by_function_name"].get(function, "") == now.get(function):
                found[name] = status
    return found


def keep_the_most_telling_tests(limit: float) -> None:
    """Cut the list of tests of each function: those of its own module, then the quickest.

    A function that everything runs through would else have hundreds.

    Args:
        limit: measured seconds that the tests of one mutant may take.
    """
    stats = json.loads(STATS.read_bytes())
    every = json.loads(TESTS.read_bytes()) if TESTS.exists() else {}
    for function, tests in stats["tests_by_mangled_function_name"].items():
        every[function] = sorted({*every.get(function, ()), *tests})
    TESTS.write_text(json.dumps(every), encoding="utf-8")
    seconds: dict[str, float] = stats["duration_by_test"]
    for function, tests in every.items():
        known = [test for test in tests if test in seconds]
        known.sort(key=lambda test: (not _is_own(test, function), seconds[test]))
        stats["tests_by_mangled_function_name"][function] = list(_within(limit, known, seconds))
    STATS.write_text(json.dumps(stats), encoding="utf-8")


def _is_own(test: str, function: str) -> bool:
    """Whether the test's file is named after the function's module, or its package."""
    modules = function.split(".")[2:-1]
    file = test.partition("::")[0].partition("test_")[2]
    return any(one.removesuffix("s") in file for one in modules)


def _within(limit: float, tests: Iterable[str], seconds: Mapping[str, float]) -> Iterator[str]:
    """The first tests, as far as they take no longer together; and one at least."""
    spent = 0.0
    for test in tests:
        if not spent or spent + seconds[test] <= limit:
            spent += seconds[test]
            yield test
