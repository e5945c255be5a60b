"""Build the book into ``_build/html`` and print the file to open.

Nothing is done when nothing changed since the last good build. A build is good only when every
cell ran, every reference resolved and no warning was given.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

from bitbybit_book.inputs import book_digest  # type: ignore[import-not-found]  # noqa: E402

from bitbybit.errors import BitbybitError, EnvironmentProblem, ModelError  # noqa: E402
from bitbybit.files import atomic_write_text  # noqa: E402
from bitbybit.terminal import Parser, run  # noqa: E402

BUILD = ROOT / "_build"
HTML = BUILD / "html"
FIRST_PAGE = HTML / "index.html"
MEASURED = (
    "accuracy_map.json", "analog_converters.json", "measured_error.json", "register_damage.json",
    "requantizers.json",
)  # fmt: skip
STAMP = BUILD / "good-build"
RUNNING = BUILD / "build-in-progress"
IPYTHON = BUILD / "ipython"
COMMAND = ("build", ".", "--all", "-n", "-W", "--keep-going", "-q")
SETTINGS = {
    "JUPYTER_PREFER_ENV_PATH": "1",
    # No reader's own start-up files take part, and kernels do not warn of their local sockets.
    "IPYTHONDIR": str(IPYTHON),
    "PYTHONHASHSEED": "0",
    # The chapters' matrix products are small: more threads would only wait for each other.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


def check_measured(path: Path, files: dict[str, Any]) -> None:
    """Raise ModelError if a record was measured on another model than the manifest's."""
    if not path.is_file():
        return
    record = json.loads(path.read_text(encoding="utf-8"))
    for model in (record[role] for role in ("model", "float") if "sha256" in record.get(role, {})):
        expected = files[model["file"]]["sha256"]
        if model["sha256"] != expected:
            raise ModelError(
                f"the record was measured on another {model['file']}", where=path,
                expected=f"SHA-256 {expected[:16]}…", found=f"{model['sha256'][:16]}…",
                next_step=f"Measure again with `{record['command']}`.",
            )  # fmt: skip


def check_models(folder: Path) -> None:
    """Raise ModelError unless every file of the manifest is there with its SHA-256."""
    manifest = folder / "manifest.json"
    try:
        files = json.loads(manifest.read_text(encoding="utf-8"))["files"]
        recorded = [(folder / name, e["sha256"], e["command"]) for name, e in files.items()]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ModelError(
            "the record of the models is missing or damaged", where=manifest,
            found=type(error).__name__, next_step="Restore it from version control.",
        ) from error  # fmt: skip
    for name in MEASURED:
        check_measured(folder / name, files)
    for path, expected, command in recorded:
        if not path.is_file():
            raise ModelError("the model file is missing", where=path,
                             next_step=f"Restore it, or make it with `{command}`.")  # fmt: skip
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != expected:
            raise ModelError(
                "the model file is not the one that the manifest records", where=path,
                expected=f"SHA-256 {expected[:16]}…", found=f"{found[:16]}…",
                next_step=f"Restore it, or make it again with `{command}`.",
            )  # fmt: skip


@contextmanager
def only_build() -> Iterator[None]:
    """Hold the lock of the build folder; the system releases it however the build ends."""
    try:
        BUILD.mkdir(exist_ok=True)
        lock = (BUILD / "lock").open("w")
    except OSError as error:
        raise EnvironmentProblem(
            "the folder of the built book cannot be written", where=BUILD,
            found=error.strerror, next_step="Make it writable, or clone elsewhere.",
        ) from error  # fmt: skip
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise EnvironmentProblem(
                "another build of this book is running", where=BUILD,
                next_step="Wait until it has ended.",
            ) from error  # fmt: skip
        yield


def clear() -> None:
    """Remove the last pages and, after an interrupted build, all that it may have half-written."""
    STAMP.unlink(missing_ok=True)
    leftovers = [HTML]
    if RUNNING.exists():
        leftovers += [BUILD / ".doctrees", BUILD / "executed", BUILD / "jupyter_execute"]
    for folder in leftovers:
        shutil.rmtree(folder, ignore_errors=True)


def render() -> int:
    """Run Jupyter Book on the chapters with this interpreter and its kernel; return its status."""
    profile = IPYTHON / "profile_default"
    profile.mkdir(parents=True, exist_ok=True)
    (profile / "ipython_kernel_config.py").write_text("get_config().IPKernelApp.log_level = 40\n")
    call = "import sys; from jupyter_book.cli.main import main; sys.exit(main())"
    data = os.environ.get("BITBYBIT_DATA")  # the kernels work in another folder
    found = {"BITBYBIT_DATA": str(Path(data).resolve())} if data else {}
    process = subprocess.Popen(  # noqa: S603 - our own interpreter and arguments
        [sys.executable, "-c", call, *COMMAND], cwd=ROOT, env=os.environ | SETTINGS | found,
        start_new_session=True,
    )  # fmt: skip
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.default_int_handler)
    try:
        return process.wait()
    except KeyboardInterrupt:
        os.killpg(process.pid, signal.SIGKILL)  # its kernels end when they see that
        process.wait()
        print("Stopped. The next build starts afresh.", file=sys.stderr)
        raise


def build() -> None:
    """Build what changed; raise BitbybitError unless the book is good."""
    digest = book_digest(ROOT)
    if STAMP.is_file() and FIRST_PAGE.is_file() and STAMP.read_text() == digest:
        print("Nothing changed since the last build.")
        return
    clear()
    RUNNING.touch()
    status = render()
    RUNNING.unlink(missing_ok=True)
    if status:
        reports = sorted((HTML / "reports").rglob("*.log"))
        raise BitbybitError(
            "the book has errors or warnings, listed above", where=ROOT / "book",
            next_step=f"Tracebacks: {', '.join(map(str, reports))}" if reports else None,
        )  # fmt: skip
    atomic_write_text(STAMP, digest)


def main() -> None:
    """Check the models, build under the lock, and say what to open."""
    Parser(__doc__).parse_args()
    check_models(ROOT / "models")
    with only_build():
        build()
    print(f"Open {FIRST_PAGE}")


if __name__ == "__main__":
    run(main)
