"""From ``resnet8.pt`` and ``calibration.json`` to every file in ``models/``.

All files are made in a temporary folder first; the real one is touched when everything is there,
and then only where bytes differ.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bitbybit.errors import DataError
from bitbybit.files import atomic_write_bytes, atomic_write_json, atomic_write_text
from bitbybit.model.load import load
from bitbybit.model.writer import write
from bitbybit.quantization import Calibration, Scheme, quantize
from bitbybit.resnet8.cifar10 import Split, find_folder, load_split
from workshop import manifest as records
from workshop.calibration import calibrate
from workshop.export import float_model
from workshop.model_card import render
from workshop.operations import operations
from workshop.peer import quantize_with_onnxruntime
from workshop.selection import (
    CALIBRATION_SEED,
    HELD_OUT_SEED,
    calibration_split,
    held_out_split,
    names_sha256,
)
from workshop.state_dict import read_state_dict

SCHEMES = {
    "resnet8_int8": Scheme(),
    "resnet8_int8_per_tensor": Scheme(per_channel=False),
    "resnet8_uint8": Scheme(weight_dtype="uint8", activation_dtype="uint8", per_channel=False),
}
"""File name without extension, and what the network is quantized to."""

TWINS = {
    "resnet8_int8": "resnet8_int8_qoperator",
    "resnet8_int8_per_tensor": "resnet8_int8_per_tensor_qoperator",
}
"""QDQ file and the QOperator file that holds the same integers."""

Report = Callable[[str], None]


def make_models(
    folder: Path,
    *,
    training: Path | None = None,
    recalibrate: bool = False,
    pytorch: bool = False,
    report: Report = print,
) -> None:
    """Make every file in ``folder`` again.

    Parameters
    ----------
    folder
        Holds ``resnet8.pt``, ``training.json`` and, unless they are made again, the calibration
        record and the list of held-out images.
    training
        Output folder of ``scripts/train.py``; its weights replace those in ``folder``, and
        everything else is made from them.
    recalibrate
        Calibrate again, and let PyTorch quantize again (needs CIFAR-10 and PyTorch).
    pytorch
        Let PyTorch quantize again (needs CIFAR-10 and PyTorch).
    report
        Called with a line for each step.

    Raises
    ------
    BitbybitError
        Something is missing or damaged; ``folder`` is then as it was before.
    """
    recalibrate = recalibrate or training is not None
    source = training or folder
    train = load_split("train") if recalibrate or pytorch else None
    with tempfile.TemporaryDirectory() as name:
        stage = Path(name)
        report("resnet8.onnx")
        make_float(source / "resnet8.pt", stage / "resnet8.onnx")
        _copy(source, stage, ("resnet8.pt", "training.json"))
        record = read_json(stage / "training.json")
        if not {"recipe", "curve", "training_images", "held_out_images"} <= record.keys():
            raise DataError(
                "not the record of a training run",
                where=source / "training.json",
                next_step="Name the output folder of scripts/train.py.",
            )
        calibration = folder / "calibration.json"
        if recalibrate and train is not None:
            report("calibration.json (some minutes)")
            calibration = stage / "calibration.json"
            make_calibration(stage / "resnet8.onnx", train, calibration)
            _, held = held_out_split(train)
            listed = "".join(f"{image}\n" for image in held.names)
            atomic_write_text(stage / "held_out_images.txt", listed)
        else:
            _copy(folder, stage, ("calibration.json", "held_out_images.txt"))
        report("quantized files")
        make_quantized(stage / "resnet8.onnx", calibration, stage)
        if train is not None:
            report("resnet8_int8.pt")
            make_pytorch(stage / "resnet8.pt", train, stage / "resnet8_int8.pt")
        else:
            _copy(folder, stage, ("resnet8_int8.pt",))
        former = {} if recalibrate else read_json(folder / "manifest.json")
        manifest = make_manifest(stage, former, record["recipe"]["seed"], report)
        card = render(manifest, record)
        atomic_write_json(stage / "manifest.json", manifest)
        atomic_write_text(stage / "README.md", card)
        _publish(stage, folder, report)


def _copy(source: Path, target: Path, names: tuple[str, ...]) -> None:
    for name in names:
        try:
            data = (source / name).read_bytes()
        except OSError as error:
            raise DataError(
                "an input of the models cannot be read",
                where=source / name,
                found=error.strerror or error,
                next_step="`python scripts/make_models.py --recalibrate` makes it, and `python "
                "scripts/train.py` makes resnet8.pt and training.json.",
            ) from error
        atomic_write_bytes(target / name, data)


def _publish(stage: Path, folder: Path, report: Report) -> None:
    """Copy what differs from ``stage`` into ``folder``; the manifest comes last."""
    names = sorted(path.name for path in stage.iterdir())
    names.sort(key=lambda name: name == "manifest.json")
    changed = 0
    for name in names:
        data, target = (stage / name).read_bytes(), folder / name
        if not target.is_file() or target.read_bytes() != data:
            atomic_write_bytes(target, data)
            changed += 1
    report(f"{changed} of {len(names)} files in {folder} changed")


def make_manifest(stage: Path, former: dict[str, Any], seed: int, report: Report) -> dict[str, Any]:
    """Return the manifest of the files in ``stage``; ``seed`` is that of the training.

    Figures of files that are those of the ``former`` manifest are taken from it. If there are
    others and CIFAR-10 is there, everything is measured again; without it they have no figures.
    """
    files = records.describe_files(stage)
    stale = records.carry_over(files, former.get("files", {}))
    common = {key: former.get(key) for key in ("images", "evaluation", "peer")}
    if stale and find_folder() is not None:
        test, train = load_split("test"), load_split("train")
        for name in records.EVALUATED:
            report(f"evaluating {name}")
            files[name] |= {"evaluation": records.evaluate_file(stage, name, test)}
        report("evaluating ONNX Runtime's quantizer")
        common = {
            "images": describe_images(train),
            "evaluation": records.describe_evaluation(test),
            "peer": measure_peer(stage, train, test),
        }
    elif stale:
        report(f"CIFAR-10 was not found: no figures for {', '.join(stale)}")
    if None in common.values():
        raise DataError(
            "the manifest is incomplete",
            where="manifest.json",
            next_step="Run `python scripts/make_models.py --recalibrate` with CIFAR-10.",
        )
    seeds = {"training": seed, "held_out": HELD_OUT_SEED, "calibration": CALIBRATION_SEED}
    return {"schema_version": records.SCHEMA_VERSION, "seeds": seeds, **common, "files": files}


def measure_peer(stage: Path, train: Split, test: Split) -> dict[str, Any]:
    """Return settings and figures of ONNX Runtime's quantizer on the same network and images."""
    with tempfile.TemporaryDirectory() as name:
        target = Path(name) / "peer.onnx"
        images = calibration_split(train).images
        settings = quantize_with_onnxruntime(stage / records.REFERENCE, images, target)
        return settings | {
            "evaluation": records.evaluate_file(target.parent, target.name, test, stage)
        }


def make_float(weights: Path, path: Path) -> None:
    """Write the float ONNX file of a state dict."""
    model = float_model(read_state_dict(weights), weights)
    atomic_write_bytes(path, model.SerializeToString(deterministic=True))


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in ``path``; raises DataError if there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(
            "cannot be read",
            where=path,
            found=error.strerror or error,
            next_step="Restore it from version control.",
        ) from error
    except ValueError as error:
        raise DataError(
            "not JSON",
            where=path,
            found=error,
            next_step="Restore it from version control.",
        ) from error
    if not isinstance(value, dict):
        raise DataError(
            "not a JSON object",
            where=path,
            found=type(value).__name__,
            next_step="Restore it from version control.",
        )
    return value


def make_pytorch(weights: Path, train: Split, path: Path) -> None:
    """Let PyTorch quantize ``weights`` with the calibration images, and write TorchScript."""
    from workshop.pytorch_int8 import quantize, to_bytes

    module = quantize(read_state_dict(weights), calibration_split(train).images, weights)
    atomic_write_bytes(path, to_bytes(module))


def describe_images(train: Split) -> dict[str, Any]:
    """Return count, hash and rule of the lists of training images that choices rest on."""
    chosen = "of each class at random, by file name, NumPy PCG64"
    _, held = held_out_split(train)
    calibration = calibration_split(train)
    return {
        "held_out": {
            "count": len(held),
            "names_sha256": names_sha256(held.names),
            "rule": f"{len(held) // 10} {chosen} seed {HELD_OUT_SEED}",
            "file": "held_out_images.txt",
        },
        "calibration": {
            "count": len(calibration),
            "names_sha256": names_sha256(calibration.names),
            "rule": f"{len(calibration) // 10} {chosen} seed {CALIBRATION_SEED}, none held out",
        },
    }


def make_quantized(float_file: Path, calibration: Path, target: Path) -> None:
    """Write every quantized ONNX file, and the operations of the first, into ``target``."""
    model, record = load(float_file), Calibration.load(calibration)
    for stem, scheme in SCHEMES.items():
        quantized = quantize(model, record, scheme)
        write(quantized, target / f"{stem}.onnx", "qdq")
        if stem in TWINS:
            write(quantized, target / f"{TWINS[stem]}.onnx", "qoperator")
    atomic_write_json(
        target / "resnet8_int8_operations.json", operations(target / "resnet8_int8.onnx")
    )


def make_calibration(float_file: Path, train: Split, path: Path) -> None:
    """Calibrate every scheme on the same images of the training set and write the record."""
    chosen = calibration_split(train)
    record = calibrate(
        load(float_file),
        [chosen.images],
        "output",  # on the held-out images its logits were 1.3 dB nearer to float than with "mse"
        schemes=tuple(SCHEMES.values()),
        description=describe_images(train)["calibration"],
    )
    record.save(path)
