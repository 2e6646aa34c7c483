"""Metric math: the arithmetic, comparisons and functions that scaling policies use."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from backburner_local.emulators.wire import ApiError

#: One value a period, oldest first; None where there is no data.
Values = list[float | None]

_OPERATORS: dict[type[ast.AST], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.Gt: lambda a, b: float(a > b),
    ast.GtE: lambda a, b: float(a >= b),
    ast.Lt: lambda a, b: float(a < b),
    ast.LtE: lambda a, b: float(a <= b),
    ast.Eq: lambda a, b: float(a == b),
    ast.NotEq: lambda a, b: float(a != b),
}
_REDUCERS: dict[str, Callable[[Sequence[float]], float]] = {
    "MAX": max,
    "MIN": min,
    "SUM": math.fsum,
    "AVG": lambda values: math.fsum(values) / len(values),
}
_ROUNDERS: dict[str, Callable[[float], float]] = {
    "ABS": abs,
    "CEIL": math.ceil,
    "FLOOR": math.floor,
}


def evaluate(expression: str, metrics: Mapping[str, Values], length: int) -> Values:
    """The expression's value in each of ``length`` periods.

    Raises:
        ApiError: a ValidationError, for what cannot be parsed or is not supported.
    """
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
    except SyntaxError as error:
        raise ApiError("ValidationError", f"Error in expression '{expression}'.") from error
    return _Evaluation(metrics, length).value(tree)


class _Evaluation:
    """One walk over the parsed expression."""

    def __init__(self, metrics: Mapping[str, Values], length: int) -> None:
        self._metrics = metrics
        self._length = length

    def value(self, node: ast.AST) -> Values:
        match node:
            case ast.Constant(value=int() | float() as number):
                return [float(number)] * self._length
            case ast.Name(id=name) if name in self._metrics:
                return self._metrics[name]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return [None if one is None else -one for one in self.value(operand)]
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                return self._combine(_OPERATORS[type(op)], left, right)
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _OPERATORS:
                return self._combine(_OPERATORS[type(op)], left, right)
            case ast.Call(func=ast.Name(id=name), args=arguments):
                return self._call(name.upper(), arguments)
        raise ApiError("ValidationError", f"Unsupported expression: {ast.unparse(node)}.")

    def _combine(
        self, operation: Callable[[float, float], float], left: ast.AST, right: ast.AST
    ) -> Values:
        pairs = zip(self.value(left), self.value(right), strict=True)
        return [None if a is None or b is None else _calculate(operation, a, b) for a, b in pairs]

    def _call(self, name: str, arguments: list[Any]) -> Values:
        match name, arguments:
            case "FILL", [series, filler]:
                return self._fill(self.value(series), filler)
            case "IF", [condition, then, *otherwise] if len(otherwise) <= 1:
                return self._choose(condition, then, otherwise)
            case _, [ast.List(elts=elements)] if name in _REDUCERS:
                columns = zip(*(self.value(one) for one in elements), strict=True)
                return [_reduce(_REDUCERS[name], column) for column in columns]
            case _, [series] if name in _REDUCERS:
                return [_reduce(_REDUCERS[name], self.value(series))] * self._length
            case _, [series] if name in _ROUNDERS:
                rounder = _ROUNDERS[name]
                return [None if one is None else rounder(one) for one in self.value(series)]
        raise ApiError("ValidationError", f"Unsupported function: {name}.")

    def _fill(self, values: Values, filler: ast.AST) -> Values:
        if isinstance(filler, ast.Name) and filler.id == "REPEAT":
            filled: Values = []
            for one in values:
                filled.append(filled[-1] if one is None and filled else one)
            return filled
        fillers = self.value(filler)
        return [other if one is None else one for one, other in zip(values, fillers, strict=True)]

    def _choose(self, condition: ast.AST, then: ast.AST, otherwise: list[Any]) -> Values:
        tests, yes = self.value(condition), self.value(then)
        no = self.value(otherwise[0]) if otherwise else [None] * self._length
        return [
            None if test is None else (a if test else b)
            for test, a, b in zip(tests, yes, no, strict=True)
        ]


def _calculate(operation: Callable[[float, float], float], a: float, b: float) -> float | None:
    try:
        return float(operation(a, b))
    except (ZeroDivisionError, OverflowError):
        return None


def _reduce(
    reducer: Callable[[Sequence[float]], float], values: Sequence[float | None]
) -> float | None:
    real = [one for one in values if one is not None]
    return reducer(real) if real else None
