"""How the files in ``models/`` were made: training, export, quantizers beside ours, records.

The scripts import it; it is not part of the installed library.
"""
