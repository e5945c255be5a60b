"""``python -m bitbybit``: the same as the console command ``bitbybit``."""

import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports below without a traceback

from bitbybit.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
