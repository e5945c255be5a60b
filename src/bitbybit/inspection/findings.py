"""What stands out in a network, and what its layers are, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bitbybit.digits import shortest
from bitbybit.inspection.columns import at, decibel_text
from bitbybit.inspection.inspected import Inspection, LayerInspection, form_label
from bitbybit.inspection.weights import TensorReport
from bitbybit.model.types import FloatIsland
from bitbybit.text import shortened


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Layers by what stands out in them, most conspicuous first; names and numbers.

    Attributes
    ----------
    widest : (layer, width of its real weight range), the three widest
    gains : (layer, dB that one scale per channel buys over one scale), all layers, descending
    outliers, nearly_dead : (layer, channels of its weights) where there are any
    dead, constant : (layer, channels of its output) proved, and only observed, to be constant
    saturated : (layer, share of its codes that lost their value to saturation), descending
    noisiest : (layer, SQNR in dB, expected from rounding alone), ascending
    """

    widest: tuple[tuple[str, float], ...]
    gains: tuple[tuple[str, float], ...]
    outliers: tuple[tuple[str, tuple[int, ...]], ...]
    nearly_dead: tuple[tuple[str, tuple[int, ...]], ...]
    dead: tuple[tuple[str, tuple[int, ...]], ...]
    constant: tuple[tuple[str, tuple[int, ...]], ...]
    saturated: tuple[tuple[str, float], ...]
    noisiest: tuple[tuple[str, float, float], ...]


def findings(inspection: Inspection) -> Findings:
    """Sort the layers of an inspection by what stands out in them."""

    def named(path: str) -> list[Any]:
        """Return (layer, fact) for all layers that have one."""
        facts = ((entry.name, at(entry, path)) for entry in inspection.layers)
        return [(name, fact) for name, fact in facts if fact is not None and fact != ()]

    def most(path: str) -> list[Any]:
        """Return the same, the greatest first."""
        return sorted(named(path), key=lambda item: -item[1])

    distances = [(name, d.sqnr_db, d.rounding_sqnr_db) for name, d in named("activation.distance")]
    return Findings(
        widest=tuple(most("weight.real.width")[:3]),
        gains=tuple(most("gain.gain_db")),
        outliers=tuple(named("weight.outlier_channels")),
        nearly_dead=tuple(named("weight.nearly_dead_channels")),
        dead=tuple(named("constant_channels")),
        constant=tuple((e.name, seen) for e in inspection.layers if (seen := _observed(e))),
        saturated=tuple(item for item in most("activation.rails.damaged_share") if item[1]),
        noisiest=tuple(sorted(distances, key=lambda item: item[1])),
    )


def verdict(inspection: Inspection) -> str:
    """Say in a sentence whether the network computes on integers from end to end."""
    islands = [e.name for e in inspection.layers if isinstance(e.layer, FloatIsland)]
    if inspection.model.form == "float":
        return "A float network: no layer computes on integers."
    if not islands:
        return "Every layer computes on integers."
    return (
        f"{len(islands)} of {len(inspection.layers)} layers stay float, the others compute on "
        f"integers: {_list([f'`{name}`' for name in islands])}."
    )


def sentences(inspection: Inspection) -> list[str]:
    """Say the findings in words, the verdict first; layer names between backticks."""
    f = findings(inspection)
    label = form_label(inspection.model)
    said = [verdict(inspection)]
    if f.noisiest:
        name, found, expected = f.noisiest[0]
        said.append(
            f"Farthest from float: `{name}` with {found:.1f} dB SQNR, where rounding its output "
            f"alone would give {expected:.1f} dB."
        )
    if f.widest:
        parts = ", ".join(f"`{name}` ({width:.4g})" for name, width in f.widest)
        said.append(f"Widest {label} weight ranges, greatest minus least value: {parts}.")
    if f.gains:
        (best, most), (worst, least) = f.gains[0], f.gains[-1]
        said.append(
            f"One scale per output channel instead of one per tensor buys {most:.1f} dB of weight "
            f"SQNR in `{best}` and {least:.1f} dB in `{worst}`."
        )
    for what, channels in (
        ("Outlier channels (at least 3 times the median channel's largest weight)", f.outliers),
        (
            "Nearly dead channels (at most 5 % of the median channel's largest weight)",
            f.nearly_dead,
        ),
        ("Channels that are constant for every input, proved from the parameters", f.dead),
        ("Channels that were constant on these inputs, and need not be on others", f.constant),
    ):
        if channels:
            said.append(f"{what}: {'; '.join(f'`{name}` {_list(c)}' for name, c in channels)}.")
    if f.widest and not (f.outliers or f.nearly_dead):
        said.append("No channel of the weights is an outlier or nearly dead.")
    if f.saturated:
        parts = ", ".join(f"`{name}` ({100 * share:.3g} %)" for name, share in f.saturated[:3])
        said.append(f"Saturation destroys values in {len(f.saturated)} layers, most in {parts}.")
    elif inspection.data:
        said.append("No value was destroyed by saturation on these inputs.")
    return said


def layer_facts(entry: LayerInspection) -> list[str]:
    """Say in sentences what a layer is; strings of the file are made visible."""
    node_type, node_name = entry.node
    cost = entry.cost
    parts = [f"Kind {entry.layer.kind}; ONNX node {node_type} `{shortened(node_name)}`"]
    if cost.macs:
        parts.append(f"{cost.macs:,} multiply-accumulates per image")
    if cost.weights:
        parts.append(f"{cost.weights:,} weights and {cost.biases:,} biases")
    facts = ["; ".join(parts) + "."]
    if isinstance(entry.layer, FloatIsland):
        facts.append(f"A float island: {shortened(entry.layer.reason, 400)}.")
    if entry.constant_channels:
        channels = ", ".join(map(str, entry.constant_channels))
        facts.append(f"Constant for every input, proved from the parameters: channels {channels}.")
    if not entry.is_quantized:
        facts.append("No tensor of this layer has quantization parameters.")
    if not entry.tensors:
        facts.append("This layer has no weights.")
    return facts


def tensor_remarks(report: TensorReport) -> str:
    """Say in sentences what the statistics of a weight or bias do not show."""
    said = []
    if report.real.invalid:
        said.append(f"{report.real.invalid:,} values are NaN or infinite and left out.")
    if report.codes_used is not None and report.codes_available is not None:
        unused = report.codes_available - report.codes_used
        said.append(f"Never used: {unused} of {report.codes_available} codes.")
    if report.error is not None:
        said.append(
            f"Largest distance from float {shortest(report.error.largest)}, "
            f"{shortest(report.error.largest_in_steps)} of a step; SQNR "
            f"{decibel_text(report.error.sqnr_db)}."
        )
    elif report.tensor.params is not None:
        said.append("There is no float twin, so the rounding error is not known.")
    if report.outlier_channels:
        said.append(f"Outlier channels: {', '.join(map(str, report.outlier_channels))}.")
    if report.nearly_dead_channels:
        said.append(f"Nearly dead channels: {', '.join(map(str, report.nearly_dead_channels))}.")
    return " ".join(said)


def _observed(entry: LayerInspection) -> tuple[int, ...]:
    if entry.activation is None:
        return ()
    seen = entry.activation.constant_observed
    return tuple(c for c in seen if c not in entry.constant_channels)


def _list(items: Sequence[object], most: int = 8) -> str:
    shown = ", ".join(map(str, items[:most]))
    return shown if len(items) <= most else f"{shown} and {len(items) - most} more"
