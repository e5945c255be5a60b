"""Renew models/goldens/: what ONNX Runtime makes of the bundled samples, layer by layer.

Runs on the contract platform only (x86-64 with AVX2 and FMA). The files are written when all of
them are made; one whose integers are still the same keeps its bytes, the stamp of its maker too.
"""

from __future__ import annotations

import json
from pathlib import Path

from bitbybit.errors import ModelError
from bitbybit.execution.goldens import check_goldens, make_goldens
from bitbybit.files import atomic_write_json
from bitbybit.model.load import load
from bitbybit.resnet8.examples import EXAMPLES, samples
from bitbybit.terminal import Parser, run


def main() -> int:
    parser = Parser(__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"), help="default: models")
    arguments = parser.parse_args()
    images = samples().images
    paths = [arguments.models / file for name, file in EXAMPLES.items() if name != "float"]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise ModelError("the model is missing", where=missing[0], next_step="Run `make models`.")
    models = [load(path) for path in paths]
    records = [make_goldens(model, images) for model in models]
    status = 0
    for path, model, record in zip(paths, models, records, strict=True):
        target = arguments.models / "goldens" / f"{path.stem}.json"
        old = json.loads(target.read_text(encoding="utf-8")) if target.is_file() else {}
        if {**old, "made_by": None} != {**record, "made_by": None}:
            atomic_write_json(target, record)
        differences = check_goldens(model, record, images)
        print(f"{target}: {len(record['layers'])} layers, {len(differences)} differ in the engine")
        status = status or int(bool(differences))
    return status


if __name__ == "__main__":
    run(main)
