"""Let Icarus Verilog run this folder's test bench; the last line it prints is PASS or FAIL.

python3 simulate.py                       the datapath of this folder
python3 simulate.py my_conv.v more.v      modules of yours in its place: README.md has the ports
python3 simulate.py --y-only my_conv.v    without comparing accumulators

It needs nothing but Python. The exit status is 0 for PASS, 1 for FAIL, 2 if it could not be tried.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATAPATH = ["conv_layer.v", "requant_shift.v", "requant_threshold.v"]


def main(words: list[str]) -> int:
    """Compile the test bench with the given files, and run it."""
    compiler, simulator = shutil.which("iverilog"), shutil.which("vvp")
    if compiler is None or simulator is None:
        sys.stderr.write("Icarus Verilog is missing (Debian: apt-get install iverilog).\n")
        return 2
    files = [str(Path(word).resolve()) for word in words if word != "--y-only"] or DATAPATH
    macros = ["-DY_ONLY"] if "--y-only" in words else []
    for stale in ("got_y.hex", "got_acc.hex"):
        (HERE / stale).unlink(missing_ok=True)
    command = [compiler, "-g2005", *macros, "-o", "sim", "testbench.v", *files]
    if subprocess.run(command, cwd=HERE, check=False).returncode != 0:
        return 2
    ran = subprocess.run(
        [simulator, "-n", "sim"], cwd=HERE, check=False, stdout=subprocess.PIPE, text=True
    )
    sys.stdout.write(ran.stdout)
    last = ran.stdout.strip().rpartition("\n")[2]
    return 0 if last.startswith("PASS: ") else 1 if last.startswith("FAIL: ") else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
