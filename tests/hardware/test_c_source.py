"""The contract in C: compiled, run on every layer, and seen to fail where it is changed."""

from __future__ import annotations

import platform
import re
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import bitbybit
from bitbybit.errors import BitbybitError, EnvironmentProblem, UnsupportedError
from bitbybit.execution.engine import stream, walk
from bitbybit.execution.feed import fixed_sizes, stimuli
from bitbybit.execution.runtime import ort_trace
from bitbybit.hardware import Choice, c_source, write_pack
from bitbybit.hardware.c_source import tensor_files
from bitbybit.model import types
from bitbybit.model.load import load
from bitbybit.resnet8.cifar10 import load_split
from bitbybit.resnet8.examples import EXAMPLES
from tests.support.c_programs import (
    FMA,
    compiled,
    network,
    run,
    write_tensors,
)
from tests.support.compilers import COMPILERS
from tests.support.hazards import Hazards
from tests.support.models import canonical, small
from tests.support.random_networks import RandomNetwork
from tests.support.runtime import on_contract_platform

QUANTIZED = [name for name in EXAMPLES if name != "float"]
INTEGER_LAYERS = tuple(c_source._CALLS)


def with_slow(values: Sequence[str], *fast: str) -> list[Any]:
    """Return parameters that are slow but for some."""
    return [
        value if value in fast else pytest.param(value, marks=pytest.mark.slow) for value in values
    ]


@pytest.fixture(scope="module")
def hazards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the compiled network of hazards and the tensors that it must make."""
    folder = tmp_path_factory.mktemp("hazards")
    made = Hazards()
    network(folder, made.model)
    write_tensors(folder / "golden", tensor_files(walk(made.model, made.inputs)))
    return folder


def compared(folder: Path, hazards: Path) -> subprocess.CompletedProcess[str]:
    """Run a program on the hazards."""
    return run(folder, *(word.format(hazards / "golden") for word in ("{}", "--compare", "{}")))


@pytest.mark.c
def test_every_layer_of_the_bundled_images_is_equal(tmp_path: Path) -> None:
    model = load(bitbybit.example("int8"))
    network(tmp_path, model)
    traced = bitbybit.trace(model, bitbybit.samples().images.astype(np.float32))
    write_tensors(tmp_path / "golden", tensor_files(traced))
    done = run(tmp_path, "golden", "--compare", "golden")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(": 10 runs, 28 tensors compared, 0 mismatches\n")


@pytest.mark.c
@pytest.mark.slow
@pytest.mark.parametrize("name", QUANTIZED)
def test_every_layer_alone_equals_directed_and_hazard_stimuli(name: str, tmp_path: Path) -> None:
    model = load(bitbybit.example(name))
    choice = Choice(formats=("bin", "c"), stimuli=("directed", "hazard"))
    images = bitbybit.samples().images[:1].astype(np.float32)
    pack = write_pack(model, tmp_path / "pack", images, choice)
    (tmp_path / "pack" / "c").rename(tmp_path / "c")
    assert compiled(tmp_path / "c").returncode == 0
    for stimuli_set in pack.stimuli:
        folder = str(tmp_path / "pack" / stimuli_set)
        done = run(tmp_path / "c", folder, "--layers", folder)
        assert (done.returncode, done.stderr) == (0, "")
        assert re.search(r", 27 tensors compared, 0 mismatches\n$", done.stdout)  # all but flatten


@pytest.mark.c
@pytest.mark.slow
@pytest.mark.dataset
@pytest.mark.parametrize("name", QUANTIZED)
def test_every_layer_of_a_thousand_images_is_equal(
    name: str, tmp_path: Path, dataset: Path
) -> None:
    model = load(bitbybit.example(name))
    network(tmp_path, model)
    images = load_split("test", dataset).images[:1000].astype(np.float32)
    for traced in stream(model, images, 100):
        write_tensors(tmp_path / "golden", tensor_files(traced))
        done = run(tmp_path, "golden", "--compare", "golden")
        assert done.stdout.endswith(": 100 runs, 28 tensors compared, 0 mismatches\n")
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.c
@pytest.mark.parametrize("compiler", with_slow(COMPILERS, *COMPILERS[:1]))
def test_every_compiler_reproduces_ties_wraps_rails_and_borders(
    compiler: str, hazards: Path, tmp_path: Path
) -> None:
    network(tmp_path, Hazards().model, compiler=compiler)
    done = compared(tmp_path, hazards)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


@pytest.mark.c
@pytest.mark.parametrize("compiler", with_slow(COMPILERS, *COMPILERS[:1]))
def test_nothing_is_undefined(compiler: str, hazards: Path, tmp_path: Path) -> None:
    options = ("-fsanitize=undefined", "-fno-sanitize-recover=all")
    network(tmp_path, Hazards().model, *options, compiler=compiler)
    done = compared(tmp_path, hazards)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


@pytest.mark.c
@pytest.mark.slow
@pytest.mark.parametrize("compiler", COMPILERS)
def test_contraction_finds_nothing_to_contract(
    compiler: str, hazards: Path, tmp_path: Path
) -> None:
    network(tmp_path, Hazards().model, "-O3", "-ffp-contract=fast", *FMA, compiler=compiler)
    done = compared(tmp_path, hazards)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


FAULTS = {
    "half up": ("rintf(real)", "floorf(real + 0.5f)"),
    "half away from zero": ("rintf(real)", "roundf(real)"),
    "towards zero": ("rintf(real)", "truncf(real)"),
    "zero point before rounding": (
        "(code)rintf(real) + y.zero_point", "(code)rintf(real + (float)y.zero_point)"
    ),
    "NaN as a number": ("if (!(real > low)) real = low;", "if (real < low) real = low;"),
    "rail -127": ("(float)(y.qmin - y", "(float)(y.qmin + 1 - y"),
    "scales in another order": (
        "(x_scale * w_scale) / y_scale", "x_scale * (w_scale / y_scale)"
    ),
    "reciprocal of the output scale": (
        "(x_scale * w_scale) / y_scale", "(x_scale * w_scale) * (1 / y_scale)"
    ),
    "double precision": ("(float)acc * multiplier", "(float)((double)acc * (double)multiplier)"),
    "even accumulators only": ("(float)acc * multiplier", "(float)(acc / 2 * 2) * multiplier"),
    "multiply instead of divide": ("x[i] / y_params.scale", "x[i] * (1 / y_params.scale)"),
    "dequantize without zero point": ("(float)(x[i] - x_params.zero_point)", "(float)x[i]"),
    "saturating sum": (
        "return sum <= INT32_MAX ?",
        "return sum > INT32_MAX && sum < 2147500000u ? INT32_MAX : sum <= INT32_MAX ?",
    ),
    "zeros as padding": (
        "continue;",
        "{ sum += (uint32_t)(-x_zero_point * (*w - layer->w_zero_point[m])); continue; }",
    ),
    "strides swapped": ("s->strides[0] * i", "s->strides[1] * i"),
    "dilations swapped": ("s->dilations[0] * u", "s->dilations[1] * u"),
    "pads swapped": ("- s->pads[0]", "- s->pads[1]"),
    "one group": ("m / (s->out_channels / s->group) * depth", "0 * m"),
    "weight zero point missing": ("(*w - layer->w_zero_point[m])", "*w"),
    "bias missing": ("(uint32_t)layer->b[m]\n", "0u\n"),
    "bias of a dense layer missing": ("uint32_t sum = (uint32_t)layer->b[j];", "uint32_t sum = 0;"),
    "input zero point missing": ("(a[k] - a_zero_point)", "(a[k] - 0 * a_zero_point)"),
    "one weight scale for all": ("layer->w_scale[k / map % s->out_channels]", "layer->w_scale[0]"),
    "pool divides last": (
        "x_scale / (y_scale * (float)pixels)", "(x_scale / y_scale) / (float)pixels"
    ),
    "add without fma": (
        "fmaf((float)a[k], ra, fmaf((float)b[k], rb, fixed))",
        "(float)a[k] * ra + ((float)b[k] * rb + fixed)",
    ),
    "add in the other order": (
        "fmaf((float)a[k], ra, fmaf((float)b[k], rb, fixed))",
        "fmaf((float)b[k], rb, fmaf((float)a[k], ra, fixed))",
    ),
    "constant in the other order": (
        "fmaf(ra, (float)a_params.zero_point, rb * (float)b_params.zero_point)",
        "fmaf(rb, (float)b_params.zero_point, ra * (float)a_params.zero_point)",
    ),
    "large sums become qmax": ("!(sum < 2147483648.0f) || ", ""),
}  # fmt: skip


@pytest.fixture(scope="module")
def objects(hazards: Path) -> list[Path]:
    """What needs no second compilation where only contract.c changes."""
    command = [COMPILERS[0], "-std=c99", "-c", "network.c", "main.c"]
    subprocess.run(command, cwd=hazards, check=True)
    return [hazards / "network.o", hazards / "main.o"]


@pytest.mark.c
@pytest.mark.parametrize(
    "fault", with_slow(list(FAULTS), "half up", "zeros as padding", "add without fma")
)
def test_an_injected_fault_is_found(
    fault: str, hazards: Path, objects: list[Path], tmp_path: Path
) -> None:
    source, (old, new) = (c_source.SOURCES / "contract.c").read_text(), FAULTS[fault]
    assert old in source
    (tmp_path / "contract.c").write_text(source.replace(old, new, 1))  # of a pool: the second
    changed = [tmp_path / "contract.c", *objects]
    done = compiled(tmp_path, f"-I{c_source.SOURCES}", "-Wno-error", sources=changed)
    assert done.returncode == 0, done.stderr
    done = compared(tmp_path, hazards)
    if done.returncode == 2:  # the program's own start found it
        assert "this build cannot keep the contract" in done.stderr
        return
    assert (done.returncode, done.stderr) == (1, "")
    first = r"^\S+: run 0, index \[.*\]: expected \S+ \(0x\w+\) got \S+ \(0x\w+\)$"
    assert re.search(first, done.stdout, re.MULTILINE)


@pytest.mark.c
@pytest.mark.slow
@on_contract_platform
def test_random_networks_equal_the_runtime(tmp_path: Path) -> None:
    equal = Counter[str]()
    for seed in range(90):
        path = tmp_path / f"{seed}.onnx"
        onnx.save(RandomNetwork(seed).model(), path)
        model = load(path)
        if all(isinstance(layer, INTEGER_LAYERS) for layer in model.layers):
            folder = network(tmp_path / str(seed), model)
            x = stimuli(model, 1 if fixed_sizes(model) else 6)
            write_tensors(folder / "golden", tensor_files(ort_trace(model, x)))
            done = run(folder, "golden", "--compare", "golden")
            assert (done.returncode, done.stderr) == (0, ""), (seed, done.stdout)
            equal.update({layer.kind for layer in model.layers})
    assert equal["dequantize"] > 25
    assert min(equal[kind.kind] for kind in INTEGER_LAYERS) > 1, equal


@pytest.mark.c
def test_unsigned_codes_and_one_weight_scale_are_equal(tmp_path: Path) -> None:
    model = small(3, np.uint8, per_channel=False)
    network(tmp_path, model)
    write_tensors(tmp_path / "golden", tensor_files(walk(model, stimuli(model, 20))))
    done = run(tmp_path, "golden", "--compare", "golden")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.c
@pytest.mark.parametrize("compiler", COMPILERS)
def test_options_that_break_the_contract_are_refused(compiler: str, tmp_path: Path) -> None:
    contract = [c_source.SOURCES / "contract.c"]
    refused = {"-ffast-math": "leave it out", "-ffinite-math-only": "leave it out"}
    if platform.machine() == "x86_64" and compiler == "gcc":
        refused["-mfpmath=387"] = "float is computed in a wider type"
    for option, sentence in refused.items():
        done = compiled(tmp_path, option, compiler=compiler, sources=contract)
        assert done.returncode != 0
        assert sentence in done.stderr


@pytest.mark.c
@pytest.mark.slow
@pytest.mark.parametrize("compiler", COMPILERS)
def test_no_option_changes_a_bit_and_is_not_refused(
    compiler: str, hazards: Path, tmp_path: Path
) -> None:
    """Without the guards the option of the last line does change bits."""
    options = ["-O3", "-Os", "-frounding-math", "-freciprocal-math", "-funsafe-math-optimizations"]
    for option in [*options, "-fassociative-math", "-fno-signed-zeros", "-Ofast"]:
        c_source.write_c(Hazards().model, tmp_path)
        if compiled(tmp_path, option, "-Wno-error", compiler=compiler).returncode == 0:
            assert compared(tmp_path, hazards).returncode in {0, 2}, option
    network(tmp_path, Hazards().model, "-ffast-math", "-DCONTRACT_UNGUARDED", compiler=compiler)
    assert compared(tmp_path, hazards).returncode == 1


PROBE = """
#include "contract.h"
#include <fenv.h>
#include <math.h>
#include <stdio.h>
#ifdef BROKEN_RINT
float rintf(float x) { return floorf(x + 0.5f); }
#endif
#ifdef BROKEN_FMA
float fmaf(float a, float b, float c) { volatile float p = a * b; return p + c; }
#endif
int main(void)
{
    fesetround(FE_UPWARD);
    const char *problem = contract_problem();
    puts(problem ? problem : fegetround() == FE_TONEAREST ? "none" : "still upward");
    return 0;
}
"""


@pytest.mark.c
@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("-DNOTHING", "none"),
        ("-DBROKEN_RINT", "rintf does not round half to even"),
        ("-DBROKEN_FMA", "fmaf rounds its product"),
    ],
)
def test_the_start_sets_the_rounding_mode_and_tries_the_library(
    option: str, says: str, tmp_path: Path
) -> None:
    (tmp_path / "probe.c").write_text(PROBE)
    sources = [tmp_path / "probe.c", c_source.SOURCES / "contract.c"]
    options = option, "-fno-builtin", f"-I{c_source.SOURCES}"
    assert compiled(tmp_path, *options, sources=sources).stderr == ""
    assert run(tmp_path).stdout == f"{says}\n"


@pytest.mark.c
def test_the_program_says_what_is_wrong_with_its_files(tmp_path: Path) -> None:
    model = small()
    network(tmp_path, model)
    arrays = tensor_files(walk(model, stimuli(model, 3)))

    def told(status: int, **changed: Any) -> str:
        named = {name.replace("_", "."): values for name, values in changed.items()}
        write_tensors(tmp_path / "golden", arrays | named)
        done = run(tmp_path, "golden", "--compare", "golden")
        assert done.returncode == status, done.stdout
        return done.stdout + done.stderr

    stem, image = arrays["stem.y"], arrays["image.x"]
    assert told(0).endswith("3 runs, 14 tensors compared, 0 mismatches\n")
    assert "stem.y: the file holds fewer runs than the inputs" in told(2, stem_y=stem[:2])
    assert "stem.y: the file holds more runs" in told(2, stem_y=np.concatenate([stem, stem]))
    cut = arrays["stem.acc"].ravel().view(np.int8)[:-3]
    assert "stem.acc: the file ends within a value" in told(2, stem_acc=cut)
    assert "image.x: the file ends within a run" in told(2, image_x=image.ravel()[:-1])
    assert "input.y: the file holds more runs" in told(2, image_x=image[:0])
    right = int(arrays["add.y"][1, 2, 3, 0])
    wrong = arrays["add.y"].copy()
    wrong[1, 2, 3, 0] = other = right ^ 1
    report = told(1, add_y=wrong)
    values = f"expected {other} (0x{other & 255:02x}) got {right} (0x{right & 255:02x})"
    assert f"add.y: run 1, index [0, 2, 3, 0]: {values}\nadd.y: 1 values differ\n" in report
    (tmp_path / "golden" / "pool.y.bin").unlink()
    assert "pool.y: no file, not compared" in run(tmp_path, "golden", "--compare", "golden").stdout
    assert "no such input file" in run(tmp_path, ".", "--compare", "golden").stderr
    assert "nothing to compare with" in run(tmp_path, "golden", "--compare", ".").stderr
    assert "usage: network INPUTS" in run(tmp_path).stderr


@pytest.mark.c
def test_each_layer_runs_alone_on_its_own_inputs(tmp_path: Path) -> None:
    model = small()
    network(tmp_path, model)
    traced = walk(model, stimuli(model, 3))
    arrays = tensor_files(traced)
    for layer in model.layers:
        for place, name in enumerate(layer.inputs):
            arrays[f"{layer.name}.x{place or ''}"] = (
                traced[name][:2] if layer.name == "add" else traced[name]
            )
    arrays["add.y"] = arrays["add.y"][:2]
    write_tensors(tmp_path / "own", arrays)
    (tmp_path / "own" / "pool.x.bin").unlink()
    done = run(tmp_path, "own", "--layers", "own")
    assert done.stdout.startswith("pool: no inputs, not run\n")
    assert done.stdout.endswith(": 23 runs, 12 tensors compared, 0 mismatches\n")
    arrays["stem.x"] = arrays["stem.x"].copy()
    arrays["stem.x"][1, 2, 3, 4] ^= 64
    write_tensors(tmp_path / "own", arrays)
    done = run(tmp_path, "own", "--layers", "own")
    assert done.returncode == 1
    assert set(re.findall(r"^(\S+): run 1", done.stdout, re.MULTILINE)) == {"stem.acc", "stem.y"}


@pytest.mark.c
def test_written_tensors_are_those_of_the_trace(tmp_path: Path) -> None:
    model = small()
    network(tmp_path, model)
    arrays = tensor_files(walk(model, stimuli(model, 3)))
    write_tensors(tmp_path / "in", {"image.x": arrays["image.x"]})
    (tmp_path / "out" / "stem").mkdir(parents=True)
    assert run(tmp_path, "in", "--write", "out").stdout.endswith("3 runs, 14 tensors written\n")
    del arrays["image.x"]
    for name, array in arrays.items():
        file = f"{name.replace('.', '/') if name.startswith('stem') else name}.bin"
        assert (tmp_path / "out" / file).read_bytes() == array.tobytes()


@pytest.mark.c
def test_names_that_are_no_names_in_c(tmp_path: Path) -> None:
    names = ["int", "requantize", "名前", "../up", "a/b.c", "a.b.c", 'x"y', "a_acc", "a", "1st"]
    layers, edges = [], {"*/ ??/": types.Edge("*/ ??/", "", (None, 4), np.dtype(np.float32))}
    for name in names:
        p = types.QuantParams(np.array(0.5, np.float32), np.array(1, np.int8))
        edges[name] = types.Edge(name, name, (None, 4), np.dtype(np.int8), p)
        layers.append(types.Quantize(name, ("*/ ??/",)))
    model = canonical(list(layers), edges, ("*/ ??/",))
    network(tmp_path, model)
    tables = re.findall(r'{"(\S+)", "y"', (tmp_path / "network.c").read_text())
    assert len(set(tables)) == len(names)


def test_what_has_no_c_form_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"stem is not quantized.*ort_trace"):
        c_source.write_c(load(bitbybit.example("float")), tmp_path)
    model = small()
    island = types.FloatIsland("sine", ("image",), reason="nobody computes a sine")
    with pytest.raises(UnsupportedError, match=r"sine: this has no C form.*nobody computes"):
        c_source.write_c(replace(model, layers=(island,)), tmp_path)
    model.edges["image"] = replace(model.edges["image"], shape=(None, 3, None, 8))
    with pytest.raises(UnsupportedError, match=r"image: this has no C form.*None"):
        c_source.write_c(model, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_same_model_gives_the_same_files(tmp_path: Path) -> None:
    paths = [c_source.write_c(small(), tmp_path / name) for name in "ab"]
    first, second = ([path.read_bytes() for path in some] for some in paths)
    assert first == second
    assert {path.name for path in paths[0]} >= {"contract.c", "contract.h", "main.c", "network.c"}


@pytest.mark.c
def test_check_c_compiles_compares_and_tries_changes() -> None:
    traced = walk(small(), stimuli(small(), 3))
    report = c_source.check_c(traced)
    assert report.mismatches == 0
    assert report.text.endswith(" 3 runs, 14 tensors compared, 0 mismatches\n")
    report = c_source.check_c(traced, ["add", "stem"], {"rintf(real)": "real"})
    (wrong,) = re.findall(r"^stem.y: (\d+) values differ$", report.text, re.MULTILINE)
    assert report.mismatches == int(wrong) > 0
    assert "pool: no inputs, not run" in report.text
    with pytest.raises(EnvironmentProblem, match="-ffast-math may reorder"):
        c_source.check_c(traced, options=["-ffast-math"])


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not c_source.c_compiler()
    with pytest.raises(EnvironmentProblem, match=r"there is no C compiler.*Install gcc or clang"):
        c_source.check_c(walk(small(), stimuli(small(), 1)))


def test_a_notebook_shows_a_function_as_c() -> None:
    assert c_source.c_function("wrapped")._repr_markdown_().startswith("```c\n/* An unsigned")


def test_functions_are_found_with_their_comment() -> None:
    text = c_source.c_function("requantize")
    assert text.startswith("/* eq-conv-requantize */\ncode requantize(")
    assert text.endswith("}\n")
    assert c_source.c_function("qlinear_add").count("\n}") == 1
    with pytest.raises(BitbybitError, match="there is no such function"):
        c_source.c_function("nothing")


def test_every_equation_that_the_c_names_is_in_the_book(root: Path) -> None:
    named = set(re.findall(r"eq-[a-z-]+", (c_source.SOURCES / "contract.c").read_text()))
    pages = "".join(path.read_text() for path in (root / "book").glob("*.md"))
    assert {"eq-conv-accumulate", "eq-add-sum", "eq-pool-multiplier"} <= named
    assert named <= set(re.findall(r"^:label: (\S+)$", pages, re.MULTILINE))
