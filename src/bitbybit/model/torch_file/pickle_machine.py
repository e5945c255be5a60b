"""A pickle machine that calls nothing.

Python's own unpickler imports modules and calls what the file names. This one walks the
opcodes (decoded by ``pickletools``, which only parses) and builds plain containers,
:class:`Name` for every reference and :class:`Stub` for every object. The few calls that
stand for a tensor or a container are answered by a table of our own functions; every other
call is refused by name.
"""

from __future__ import annotations

import io
import pickletools
import sys
import warnings
from collections.abc import Callable

from bitbybit.errors import ModelError
from bitbybit.model.torch_file.archive import RESAVE, Budget, Name, Stub, damaged
from bitbybit.text import shortened

Constructor = Callable[..., object]
_PLAIN_CLASSES = {"argparse.Namespace", "types.SimpleNamespace", "collections.OrderedDict"}
"""Classes of the standard library whose objects carry settings, and nothing else."""
_STDLIB = sys.stdlib_module_names | {"__builtin__", "copy_reg", "commands"}
_MARK = object()


class RefusedError(ModelError):
    """The file asks for a call that is not on the list."""


def refuse(name: object, where: str) -> RefusedError:
    """Return the error for a call that is not made."""
    return RefusedError(
        "the file asks to call something that is neither a tensor nor a plain container; "
        "nothing was executed",
        where=where,
        found=shortened(name),
        next_step=RESAVE,
    )


class Machine:
    """Builds the object that a pickle describes.

    Parameters
    ----------
    budget
        What it may take.
    where
        File and record, for messages.
    """

    def __init__(self, budget: Budget, where: str) -> None:
        self.budget = budget
        self.where = where
        self.stack: list[object] = []
        self.memo: dict[int, object] = {}

    def answer(self, name: str) -> Constructor | None:
        """Return the function that answers a call of this name, None if it is refused."""
        raise NotImplementedError

    def persistent(self, identifier: object) -> object:
        """Answer a persistent identifier."""
        raise NotImplementedError

    def load(self, data: bytes) -> object:
        """Return the object.

        Raises
        ------
        ModelError
            A pickle that is damaged or truncated, or takes more than the budget.
        RefusedError
            A call that is not on the list, an opcode outside the ordinary ones.
        """
        try:
            with warnings.catch_warnings():  # names with an unknown escape, which nobody writes
                warnings.simplefilter("error", DeprecationWarning)
                for opcode, argument, _ in pickletools.genops(io.BytesIO(data)):
                    self.budget.take(steps=1)
                    if opcode.name == "STOP":
                        return self.stack.pop()
                    self._step(opcode.name, argument)
        except (ValueError, IndexError, KeyError, TypeError, OverflowError, DeprecationWarning):
            raise damaged("the pickle is damaged", self.where) from None
        raise damaged("the pickle has no end", self.where)

    def _step(self, opcode: str, argument: object) -> None:
        if opcode not in _ACTIONS:
            raise refuse(f"pickle opcode {opcode}", self.where)
        _ACTIONS[opcode](self, argument)

    def pop_mark(self) -> list[object]:
        """Take everything above the topmost mark from the stack."""
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise ValueError
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def call(self, function: object, arguments: object) -> object:
        """Answer a call from the table, or refuse it."""
        if not isinstance(function, Name):
            name = function.name if isinstance(function, Stub) else type(function).__name__
            raise refuse(name, self.where)
        constructor = self.answer(str(function))
        if constructor is None or not isinstance(arguments, tuple):
            raise refuse(function, self.where)
        return constructor(*arguments)

    def instance(self, cls: object, arguments: object) -> Stub:
        """Stand in for an object made without a call of its class."""
        if not isinstance(cls, Name) or not isinstance(arguments, tuple):
            raise refuse(cls if isinstance(cls, Name) else type(cls).__name__, self.where)
        if cls.module.partition(".")[0] in _STDLIB and str(cls) not in _PLAIN_CLASSES:
            raise refuse(cls, self.where)
        return Stub(str(cls), arguments)


class _Key:
    """A dictionary key that is kept by identity: hashing nested tuples can take forever."""

    def __init__(self, value: object) -> None:
        self.value = value


def _key(key: object) -> object:
    plain = (str, int, float, bytes, Name)
    return key if isinstance(key, plain) or key is None else _Key(key)


def _fill(m: Machine, items: list[object], kind: type) -> None:
    """Put items into the list, dictionary or stub on top of the stack."""
    target = m.stack[-1]
    if isinstance(target, Stub):
        target.items.extend(items)
    elif not isinstance(target, kind):
        raise TypeError
    elif isinstance(target, list):
        target.extend(items)
    elif isinstance(target, dict):
        target.update(_dict(items))


def _dict(items: list[object]) -> dict[object, object]:
    return {_key(k): v for k, v in zip(items[::2], items[1::2], strict=True)}


def _take(m: Machine, count: int) -> tuple[object, ...]:
    """Take ``count`` values from the top of the stack."""
    if len(m.stack) < count:
        raise IndexError
    items = tuple(m.stack[-count:])
    del m.stack[-count:]
    return items


def _name(m: Machine, argument: object) -> None:
    module, _, name = str(argument).partition(" ")
    m.stack.append(Name(module, name))


def _stack_name(m: Machine, _: object) -> None:
    module, name = _take(m, 2)
    if not isinstance(name, str) or not isinstance(module, str):
        raise TypeError
    m.stack.append(Name(module, name))


def _new_ex(m: Machine, _: object) -> None:
    cls, arguments, keywords = _take(m, 3)
    stub = m.instance(cls, arguments)
    stub.items.append(keywords)
    m.stack.append(stub)


def _build(m: Machine, _: object) -> None:
    state = m.stack.pop()
    target = m.stack[-1]
    if isinstance(target, Stub):
        target.state = state
    elif not isinstance(target, dict):  # attributes of an OrderedDict carry no values
        raise refuse(f"{type(target).__name__}.__setstate__", m.where)


def _get(m: Machine, argument: object) -> None:
    m.stack.append(m.memo[int(str(argument))])


def _put(m: Machine, argument: object) -> None:
    m.memo[len(m.memo) if argument is None else int(str(argument))] = m.stack[-1]


def _push(m: Machine, value: object) -> None:
    m.stack.append(value)


_LITERALS = (
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
)
_ACTIONS: dict[str, Callable[[Machine, object], object]] = {
    **dict.fromkeys(("PROTO", "FRAME"), lambda _m, _: None),
    **dict.fromkeys(_LITERALS, _push),
    "NONE": lambda m, _: _push(m, None),
    "NEWTRUE": lambda m, _: _push(m, True),
    "NEWFALSE": lambda m, _: _push(m, False),
    **dict.fromkeys(("EMPTY_LIST", "EMPTY_SET"), lambda m, _: _push(m, [])),
    "EMPTY_TUPLE": lambda m, _: _push(m, ()),
    "EMPTY_DICT": lambda m, _: _push(m, {}),
    "MARK": lambda m, _: _push(m, _MARK),
    "POP": lambda m, _: m.stack.pop(),
    "POP_MARK": lambda m, _: m.pop_mark(),
    "DUP": lambda m, _: _push(m, m.stack[-1]),
    "APPEND": lambda m, _: _fill(m, [m.stack.pop()], list),
    **dict.fromkeys(("APPENDS", "ADDITEMS"), lambda m, _: _fill(m, m.pop_mark(), list)),
    "SETITEM": lambda m, _: _fill(m, list(_take(m, 2)), dict),
    "SETITEMS": lambda m, _: _fill(m, m.pop_mark(), dict),
    **dict.fromkeys(("LIST", "FROZENSET"), lambda m, _: _push(m, m.pop_mark())),
    "TUPLE": lambda m, _: _push(m, tuple(m.pop_mark())),
    "TUPLE1": lambda m, _: _push(m, _take(m, 1)),
    "TUPLE2": lambda m, _: _push(m, _take(m, 2)),
    "TUPLE3": lambda m, _: _push(m, _take(m, 3)),
    "DICT": lambda m, _: _push(m, _dict(m.pop_mark())),
    "GLOBAL": _name,
    "STACK_GLOBAL": _stack_name,
    "REDUCE": lambda m, _: _push(m, m.call(*_take(m, 2))),
    "NEWOBJ": lambda m, _: _push(m, m.instance(*_take(m, 2))),
    "NEWOBJ_EX": _new_ex,
    "BUILD": _build,
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _get),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _put),
    "PERSID": lambda m, argument: _push(m, m.persistent(argument)),
    "BINPERSID": lambda m, _: _push(m, m.persistent(m.stack.pop())),
}
"""Opcode → what it does; any other is refused. A set is kept as a list, for the reason of a key."""
