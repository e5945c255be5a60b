"""A pickle machine that calls nothing.

Python's own unpickler imports modules and calls what the file names.  This one walks the
opcodes (decoded by ``pickletools``, which only parses) and builds plain containers,
:class:`Name` for every reference and :class:`Stub` for every object.  The few calls that
stand for a tensor or a container are answered by a table of our own functions; every other
call is refused by name.
"""

from __future__ import annotations

import io
import pickletools
import sys
import warnings
from collections.abc import Callable, Mapping

from bitbybit.errors import ModelError
from bitbybit.model.names import printable
from bitbybit.model.torchfile.values import Name, Stub

Constructor = Callable[..., object]
_PLAIN_CLASSES = {"argparse.Namespace", "types.SimpleNamespace", "collections.OrderedDict"}
"""Classes of the standard library whose objects carry settings, and nothing else."""
_MARK = object()


class RefusedError(ModelError):
    """The file asks for a call that is not on the list."""


def refuse(name: object, where: str) -> RefusedError:
    """Return the error for a call that is not made."""
    return RefusedError(
        "the file asks to call something that is neither a tensor nor a plain container; "
        "nothing was executed",
        where=where,
        found=printable(str(name)),
        next_step="Save a plain state dict: torch.save(model.state_dict(), path).",
    )


class Machine:
    """Builds the object that a pickle describes.

    Parameters
    ----------
    constructors
        Full name → function that answers a call of that name.
    persistent
        Answers persistent identifiers (the storages).
    where
        File and record, for messages.
    """

    def __init__(
        self, constructors: Mapping[str, Constructor], persistent: Constructor, where: str
    ) -> None:
        self.constructors = constructors
        self.persistent = persistent
        self.where = where
        self.stack: list[object] = []
        self.memo: dict[int, object] = {}

    def load(self, data: bytes) -> object:
        """Return the object.

        Raises
        ------
        ModelError
            A pickle that is damaged or truncated.
        RefusedError
            A call that is not on the list, an opcode outside the ordinary ones.
        """
        try:
            with warnings.catch_warnings():  # names with an unknown escape, which nobody writes
                warnings.simplefilter("error", DeprecationWarning)
                for opcode, arg, _ in pickletools.genops(io.BytesIO(data)):
                    if opcode.name == "STOP":
                        return self.stack.pop()
                    self._step(opcode.name, arg)
        except (ValueError, IndexError, KeyError, TypeError, OverflowError, DeprecationWarning):
            raise ModelError("the pickle is damaged", where=self.where) from None
        raise ModelError("the pickle has no end", where=self.where)

    def _step(self, op: str, arg: object) -> None:
        if op in _CONSTANTS:
            self.stack.append(_CONSTANTS[op])
        elif op in _LITERALS:
            self.stack.append(arg)
        elif op in _EMPTY:
            self.stack.append(_EMPTY[op]())
        elif op in _ACTIONS:
            _ACTIONS[op](self, arg)
        elif op not in {"PROTO", "FRAME"}:
            raise refuse(f"pickle opcode {op}", self.where)

    def mark(self) -> list[object]:
        """Take everything above the topmost mark from the stack."""
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise ValueError
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def call(self, function: object, args: object) -> object:
        """Answer a call from the table, or refuse it."""
        if not isinstance(function, Name):
            name = function.name if isinstance(function, Stub) else type(function).__name__
            raise refuse(name, self.where)
        constructor = self.constructors.get(str(function))
        if constructor is None or not isinstance(args, tuple):
            raise refuse(function, self.where)
        return constructor(*args)

    def instance(self, cls: object, args: object) -> Stub:
        """Stand in for an object made without a call of its class."""
        if not isinstance(cls, Name) or not isinstance(args, tuple):
            raise refuse(cls if isinstance(cls, Name) else type(cls).__name__, self.where)
        if cls.module.partition(".")[0] in _STDLIB and str(cls) not in _PLAIN_CLASSES:
            raise refuse(cls, self.where)
        return Stub(str(cls), args)


_STDLIB = sys.stdlib_module_names | {"__builtin__", "copy_reg", "commands"}
_CONSTANTS: dict[str, object] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = frozenset(
    {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
    | {"STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
    | {"UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "BYTEARRAY8"}
)
_EMPTY: dict[str, Callable[[], object]] = {
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": list,  # a set is kept as a list: hashing a nested key can take forever
    "MARK": lambda: _MARK,
}


def _key(key: object) -> object:
    """Return a dictionary key that is cheap to hash: nested tuples are kept by identity."""
    return key if isinstance(key, (str, int, float, bytes, Name)) or key is None else _Key(key)


class _Key:
    def __init__(self, value: object) -> None:
        self.value = value


def _set_items(m: Machine, items: list[object]) -> None:
    target = m.stack[-1]
    if isinstance(target, Stub):
        target.items.extend(items)
        return
    if not isinstance(target, dict):
        raise TypeError
    for key, value in zip(items[::2], items[1::2], strict=True):
        target[_key(key)] = value


def _extend(m: Machine, items: list[object]) -> None:
    target = m.stack[-1]
    if isinstance(target, Stub):
        target.items.extend(items)
    elif isinstance(target, list):
        target.extend(items)
    else:
        raise TypeError


def _dict(items: list[object]) -> dict[object, object]:
    return {_key(k): v for k, v in zip(items[::2], items[1::2], strict=True)}


def _set_item(m: Machine, _: object) -> None:
    value = m.stack.pop()
    key = m.stack.pop()
    _set_items(m, [key, value])


def _tuple(m: Machine, count: int) -> None:
    if len(m.stack) < count:
        raise IndexError
    items = tuple(m.stack[-count:])
    del m.stack[-count:]
    m.stack.append(items)


def _name(m: Machine, arg: object) -> None:
    module, _, name = str(arg).partition(" ")
    m.stack.append(Name(module, name))


def _stack_name(m: Machine, _: object) -> None:
    name, module = m.stack.pop(), m.stack.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise TypeError
    m.stack.append(Name(module, name))


def _reduce(m: Machine, _: object) -> None:
    args = m.stack.pop()
    m.stack.append(m.call(m.stack.pop(), args))


def _new(m: Machine, _: object) -> None:
    args = m.stack.pop()
    m.stack.append(m.instance(m.stack.pop(), args))


def _new_ex(m: Machine, _: object) -> None:
    keywords, args = m.stack.pop(), m.stack.pop()
    stub = m.instance(m.stack.pop(), args)
    stub.items.append(keywords)
    m.stack.append(stub)


def _old_instance(m: Machine, arg: object) -> None:
    items = m.mark()
    if arg is None:  # OBJ: the class is the first of the items
        cls: object = items.pop(0)
    else:  # INST: the class is named in the opcode
        cls = Name(*str(arg).split(" ", 1))
    m.stack.append(m.instance(cls, tuple(items)))


def _build(m: Machine, _: object) -> None:
    state = m.stack.pop()
    target = m.stack[-1]
    if isinstance(target, Stub):
        target.state = state
    elif not isinstance(target, dict):  # attributes of an OrderedDict carry no values
        raise refuse(f"{type(target).__name__}.__setstate__", m.where)


def _get(m: Machine, arg: object) -> None:
    m.stack.append(m.memo[int(str(arg))])


def _put(m: Machine, arg: object) -> None:
    m.memo[int(str(arg))] = m.stack[-1]


def _memoize(m: Machine, _: object) -> None:
    m.memo[len(m.memo)] = m.stack[-1]


def _persistent(m: Machine, arg: object) -> None:
    m.stack.append(m.persistent(m.stack.pop() if arg is None else arg))


def _pop(m: Machine, _: object) -> None:
    m.stack.pop()


_ACTIONS: dict[str, Callable[[Machine, object], object]] = {
    "POP": _pop,
    "POP_MARK": lambda m, _: m.mark(),
    "DUP": lambda m, _: m.stack.append(m.stack[-1]),
    "APPEND": lambda m, _: _extend(m, [m.stack.pop()]),
    "APPENDS": lambda m, _: _extend(m, m.mark()),
    "ADDITEMS": lambda m, _: _extend(m, m.mark()),
    "SETITEM": _set_item,
    "SETITEMS": lambda m, _: _set_items(m, m.mark()),
    "LIST": lambda m, _: m.stack.append(m.mark()),
    "FROZENSET": lambda m, _: m.stack.append(m.mark()),
    "TUPLE": lambda m, _: m.stack.append(tuple(m.mark())),
    "TUPLE1": lambda m, _: _tuple(m, 1),
    "TUPLE2": lambda m, _: _tuple(m, 2),
    "TUPLE3": lambda m, _: _tuple(m, 3),
    "DICT": lambda m, _: m.stack.append(_dict(m.mark())),
    "GLOBAL": _name,
    "STACK_GLOBAL": _stack_name,
    "REDUCE": _reduce,
    "NEWOBJ": _new,
    "NEWOBJ_EX": _new_ex,
    "INST": _old_instance,
    "OBJ": _old_instance,
    "BUILD": _build,
    "GET": _get,
    "BINGET": _get,
    "LONG_BINGET": _get,
    "PUT": _put,
    "BINPUT": _put,
    "LONG_BINPUT": _put,
    "MEMOIZE": _memoize,
    "PERSID": _persistent,
    "BINPERSID": _persistent,
}
