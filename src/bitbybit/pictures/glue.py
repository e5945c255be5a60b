"""Numbers for the prose: a cell computes them, the text names them."""

from __future__ import annotations

from bitbybit.digits import shown

RECORD = "application/papermill.record/"


def glue(**values: object) -> None:
    """Store values under their names, to be read in the text as ``{glue:text}`name```.

    Integers are grouped by commas; format floats as text first. Nothing is displayed, and outside
    a notebook nothing happens.

    Parameters
    ----------
    values
        Name → value; a name may be used once per chapter.
    """
    try:
        from IPython import get_ipython
        from IPython.display import publish_display_data
    except ModuleNotFoundError:
        return
    if get_ipython() is None:
        return
    for name, value in values.items():
        publish_display_data(
            {RECORD + "text/plain": repr(shown(value))},
            metadata={"scrapbook": {"name": name, "mime_prefix": RECORD}},
        )
