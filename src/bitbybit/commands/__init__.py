"""The subcommands of ``bitbybit``: one module each, imported when it is called.

A module ``commands/name_of_it.py`` defines ``register(app: typer.Typer) -> None``, which adds
one command, or one group of commands, called ``name-of-it``. It imports the library inside the
command's function, so that ``bitbybit --help`` stays quick.
"""
