"""``models/README.md``: the model card, written from the manifest and the training record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bitbybit.resnet8.cifar10 import CLASSES
from workshop.manifest import REFERENCE

_KIND = {
    "resnet8.pt": "float, plain state dict with batch norm",
    "resnet8.onnx": "float, batch norm folded",
    "resnet8_int8.onnx": "int8, per-channel weights, QDQ",
    "resnet8_int8_qoperator.onnx": "the same integers, QLinear operators",
    "resnet8_int8_per_tensor.onnx": "int8, per-tensor weights, QDQ",
    "resnet8_int8_per_tensor_qoperator.onnx": "the same integers, QLinear operators",
    "resnet8_uint8.onnx": "uint8 activations and weights, per-tensor, QDQ",
    "resnet8_int8.pt": "PyTorch's quantizer, TorchScript",
}

_CARD = """\
# ResNet8 on CIFAR-10

<!-- Written by scripts/make_models.py from manifest.json and training.json. -->

A small residual network for 32x32 images, as trained float weights and in several quantized
forms. It is MLPerf Tiny's ResNet8 (Banbury et al., 2021): nine convolutions in three residual
stacks, a global average pool and a dense layer; 12,501,632 multiply-accumulates, 77,360 weights
and 346 biases. Padding is Keras SAME. The weights were trained here; MLPerf's own are not part
of this project.

Input: float32 `image`, `[N, 3, 32, 32]`, RGB planes of raw pixels 0 to 255, not normalized.
Quantizing it loses nothing: the scale is 1, and the int8 code is the pixel minus 128.
Output: float32 `logits`, `[N, 10]`; the largest names the class, in the order
{classes}.

## The files

Top-1 on the {test_count} test images of CIFAR-10. "Changed" counts the images to which the file
gives another class than `{reference}` does, and the SQNR is that of the logits against it.

{table}

The quantizer of ONNX Runtime {onnxruntime}, given the same float file and the same calibration
images, reaches {peer}.

`calibration.json` records the activation ranges and corrected biases: every quantized ONNX file
is a pure function of `resnet8.pt` and this record. `resnet8_int8_operations.json` lists every
quantized operation of `resnet8_int8.onnx`. `manifest.json` holds SHA-256, command and figures of
each file, per class too. `held_out_images.txt` names the {held_count} training images on which
choices were made.

## Training and calibration

{epochs} epochs on {training_count} training images of CIFAR-10 (Krizhevsky, 2009): cross-entropy
with label smoothing {label_smoothing}, random shifts of up to {crop_padding} pixels and mirroring,
Muon for the convolutions, AdamW for the rest, averaged weights; PyTorch {torch} on one
{device}, {minutes} minutes. The remaining {held_count} training images, 200 of each class, judged
every choice; at the end their top-1 was {held_out_top1} %. No test image was used for a choice, in
training or in quantization. Calibration used {calibration_count} other images of the training set,
100 of each class, the same for every quantized file.

## Making them again

    make models                                              # from the record; any machine
    python scripts/make_models.py --recalibrate              # needs CIFAR-10 and PyTorch
    python scripts/train.py                                  # likewise; then take its result:
    python scripts/make_models.py --training _build/training

The first line gives the same bytes on every machine.

## Use and limits

Made for studying quantized arithmetic and for testing hardware and runtimes, where a small real
network with known integers is wanted. It knows ten classes at 32x32 pixels and gives one of them
to any image; it is no base for a decision about people or things. CIFAR-10's images and labels
were collected from the web and carry the errors and biases of their sources.
`resnet8_int8.pt` needs PyTorch {torch_pinned} to run.

The weights are published under the Apache License 2.0, like the code.
"""


def render(manifest: Mapping[str, Any], training: Mapping[str, Any]) -> str:
    """Return the model card.

    Parameters
    ----------
    manifest, training
        The contents of ``manifest.json`` and ``training.json``.
    """
    recipe, images = training["recipe"], manifest["images"]
    return _CARD.format(
        classes=", ".join(CLASSES[:-1]) + f" and {CLASSES[-1]}",
        test_count=f"{manifest['evaluation']['data']['images']:,}",
        reference=REFERENCE,
        table=_table(manifest["files"]),
        onnxruntime=manifest["evaluation"]["versions"]["onnxruntime"],
        peer=_peer(manifest["peer"]),
        held_count=f"{images['held_out']['count']:,}",
        training_count=f"{training['training_images']['count']:,}",
        calibration_count=f"{images['calibration']['count']:,}",
        epochs=recipe["epochs"],
        label_smoothing=recipe["label_smoothing"],
        crop_padding=recipe["crop_padding"],
        torch=training["torch"],
        torch_pinned=training["torch"].partition("+")[0],
        device=training["device"].upper(),
        minutes=round(sum(entry["seconds"] for entry in training["curve"]) / 60),
        held_out_top1=training["curve"][-1]["held_out_top1"],
    )


def _table(files: Mapping[str, Any]) -> str:
    rows = ["| file | what | bytes | top-1 | changed | SQNR |", "|---|---|--:|--:|--:|--:|"]
    for name, kind in _KIND.items():
        entry = files[name]
        rows.append(f"| `{name}` | {kind} | {entry['bytes']:,} | {_figures(entry, name)} |")
    return "\n".join(rows)


def _figures(entry: Mapping[str, Any], name: str) -> str:
    found = entry.get("evaluation")
    if found is None:
        return "not measured | |"
    top1 = f"{100 * found['overall']['accuracy']:.2f} %"
    if name == REFERENCE:
        return f"{top1} | | "
    decibels = found["logit_sqnr_db"]
    distance = "equal" if decibels is None else f"{decibels:.2f} dB"
    return f"{top1} | {found['changed_predictions']} | {distance}"


def _peer(peer: Mapping[str, Any]) -> str:
    figures = peer["evaluation"]
    top1 = f"{100 * figures['overall']['accuracy']:.2f} %"
    changed, decibels = figures["changed_predictions"], figures["logit_sqnr_db"]
    return f"{top1} with {changed} changed predictions and {decibels:.2f} dB"
