"""What a verification finds: plain data."""

from __future__ import annotations

from dataclasses import dataclass, field

from bitbybit.execution.compare import LayerResult
from bitbybit.execution.runtime import DefaultSession
from bitbybit.model.types import FloatIsland, QuantizedModel

RUNTIME = "ONNX Runtime, layer alone"
ACCUMULATOR = "ONNX Runtime, integer sums"
DEFINITION = "the operator's definition"
WHOLE = "ONNX Runtime, whole file"
EXPECTED = "the expected outputs"


@dataclass(frozen=True)
class Check:
    """One tensor, compared with one authority.

    Attributes
    ----------
    layer : canonical name of the layer, or of the graph output
    kind : kind of the layer, or "output"
    authority : what the engine was compared with
    result : the comparison: ``expected`` is the authority, ``actual`` the engine
    """

    layer: str
    kind: str
    authority: str
    result: LayerResult


@dataclass(frozen=True)
class Mismatch:
    """The first element that differs.

    Attributes
    ----------
    layer, authority : where, and what the engine was compared with
    index : position in the layer's output (or accumulators), image first
    expected, found : the authority's value and the engine's
    accumulator : the engine's int32 accumulator there, where the layer has one
    """

    layer: str
    authority: str
    index: tuple[int, ...]
    expected: float
    found: float
    accumulator: int | None


@dataclass
class Verification:
    """What :func:`verify` found.

    Attributes
    ----------
    model : the network
    images : how many were computed
    inputs : what they were, in words
    checks : every comparison, in graph order, definition before runtime
    islands : layers outside the contract; they run in ONNX Runtime
    first : the first mismatch, None without one
    default_session : what a session with default options does instead, None if not asked for
    platform_problem : why ONNX Runtime need not be exact on this CPU, "" where it must be
    """

    model: QuantizedModel
    inputs: str = ""
    images: int = 0
    checks: list[Check] = field(default_factory=list)
    islands: tuple[FloatIsland, ...] = ()
    first: Mismatch | None = None
    default_session: DefaultSession | None = None
    platform_problem: str = ""

    @property
    def elements(self) -> int:
        """Elements compared."""
        return sum(check.result.elements for check in self.checks)

    @property
    def mismatches(self) -> int:
        """Elements that differ."""
        return sum(check.result.mismatches for check in self.checks)

    @property
    def exit_status(self) -> int:
        """0: all equal, all integer; 1: a mismatch; 3: equal, but with float islands."""
        if self.mismatches:
            return 1
        return 3 if self.islands else 0
