"""``python -m bitbybit``: the same as the console command ``bitbybit``."""

from bitbybit.cli import main

if __name__ == "__main__":
    main()
