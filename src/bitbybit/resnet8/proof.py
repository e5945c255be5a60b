"""The proof that closes a chapter: a committed model against its goldens and ONNX Runtime."""

from __future__ import annotations

import json

from bitbybit.errors import BitbybitError, DataError
from bitbybit.execution.goldens import check_goldens
from bitbybit.execution.verdict import DEFINITION
from bitbybit.execution.verification import verify
from bitbybit.model.types import QuantizedModel
from bitbybit.resnet8.examples import models_folder, samples


def prove(model: QuantizedModel) -> str:
    """Hold the engine against the recorded outputs of ONNX Runtime, and against ONNX Runtime now.

    The goldens must be equal on every CPU. ONNX Runtime itself must be equal where the CPU
    qualifies (decision 0001); elsewhere its difference is counted and named.

    Parameters
    ----------
    model
        The canonical view of a committed model.

    Returns
    -------
    One sentence that says what was compared.

    Raises
    ------
    BitbybitError
        An element differs; the first one is named.
    DataError
        The model has no goldens, or they are of another model.
    """
    path = models_folder() / "goldens" / f"{model.path.stem}.json"
    if not path.is_file():
        raise DataError(
            "the model has no goldens",
            where=model.path.name,
            expected=path,
            next_step="Make them with `python scripts/make_goldens.py`.",
        )
    images = samples().images
    record = json.loads(path.read_text(encoding="utf-8"))
    for layer, tensor, mismatch in check_goldens(model, record, images):
        raise BitbybitError(
            "the engine differs from the goldens",
            where=f"{model.path.name}, {layer}, {tensor} {mismatch.index or ''}",
            expected=mismatch.expected,
            found=mismatch.found,
            next_step="Run `bitbybit verify` on the model: it says which layer differs, and how.",
        )
    report = verify(model, images.astype("float32"), quick=True)
    check = report.first
    if check is not None and check.first is not None and not report.platform_problem:
        first = check.first
        raise BitbybitError(
            "the engine differs from ONNX Runtime",
            where=f"{model.path.name}, {check.name}, {first.index}",
            expected=f"{first.expected} by {check.authority}",
            found=first.found,
            next_step="Run `bitbybit verify` on the file, and report it with what that prints.",
        )
    judged = [c for c in report.checks if c.authority != DEFINITION]  # that one is ours
    elements, differ = (sum(getattr(r, n) for r in judged) for n in ("elements", "mismatches"))
    live = f"{differ:,} of {elements:,} elements differ from ONNX Runtime here"
    suffix = f" ({report.platform_problem})" if report.platform_problem else ""
    return f"{model.path.name}: {len(record['layers'])} layers equal the goldens; {live}{suffix}."
