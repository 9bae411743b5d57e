"""A digest of values by what they hold: arrays by their bytes, functions by all that they use."""

import copyreg
import hashlib
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import taglab

_PLAIN = (type(None), bool, int, float, complex, str, type(...), range)
_NOT_CONTENT = {"__dict__", "__weakref__", "__module__", "__doc__", "__firstlineno__",
                "__static_attributes__", "_abc_impl"}  # attributes of any class


def content_digest(*values: Any) -> str:
    """Return 16 hex digits that are the same for values that hold the same, in any process.

    A function counts with its code, default arguments, closure, and the globals that it names; so
    do the functions among these, unless they belong to an installed package. An object counts with
    its class and its state. Of what has no state to copy, a lock or a connection, the class counts.
    """
    return _Walk().digest(values).hex()[:16]


class _Walk:
    """One walk through values and all that they hold."""

    def __init__(self) -> None:
        self._done: dict[int, bytes] = {}  # digests by id
        self._alive: list[Any] = []  # so that no id is given out twice
        self._above: list[int] = []  # ids of the values that hold the present one

    def digest(self, value: Any) -> bytes:
        """Return the digest of a value."""
        if isinstance(value, (bytes, bytearray)):
            return hashlib.sha256(b"bytes" + value).digest()
        if type(value) in _PLAIN:
            text = f"{type(value).__name__} {value!r}"
            return hashlib.sha256(text.encode(errors="backslashreplace")).digest()
        key = id(value)
        if key in self._done:
            return self._done[key]
        if key in self._above:  # a circle
            return self._hash("above", [str(self._above.index(key)).encode()])
        self._above.append(key)
        kind, parts = self._parts(value)
        found = self._hash(kind, parts)
        self._above.pop()
        self._alive.append(value)
        self._done[key] = found
        return found

    def _hash(self, kind: str, parts: Iterable[bytes]) -> bytes:
        return hashlib.sha256(b"\0".join([kind.encode(errors="backslashreplace"), *parts])).digest()

    def _parts(self, value: Any) -> tuple[str, list[bytes]]:
        """Return the kind of a value and the digests of its parts."""
        if type(value) in (list, tuple):
            return type(value).__name__, [self.digest(each) for each in value]
        if type(value) is dict:
            return "dict", sorted(self.digest(key) + self.digest(each)
                                  for key, each in value.items())
        if type(value) in (set, frozenset):
            return "set", sorted(map(self.digest, value))
        if isinstance(value, ModuleType):
            return f"module {value.__name__}", []
        if isinstance(value, CodeType):
            return "code", [self.digest(each) for each in (
                value.co_code, value.co_consts, value.co_names, value.co_varnames)]
        if isinstance(value, (FunctionType, type)):
            return self._definition(value)
        if isinstance(value, MethodType):
            return "method", [self.digest(value.__func__), self.digest(value.__self__)]
        if isinstance(value, (staticmethod, classmethod)):
            return type(value).__name__, [self.digest(value.__func__)]
        if isinstance(value, property):
            return "property", [self.digest(each) for each in (value.fget, value.fset)]
        return self._object(value)

    def _definition(self, value: Any) -> tuple[str, list[bytes]]:
        """Return the parts of a function or a class, none where it is of an installed package."""
        name = f"{value.__module__}.{value.__qualname__}"
        module = sys.modules.get(str(value.__module__))
        file = (value.__code__.co_filename if isinstance(value, FunctionType) else
                getattr(module, "__file__", None) or "")
        if _is_installed(file, str(value.__module__)):
            return name, []
        if isinstance(value, type):
            own = {key: each for key, each in vars(value).items() if key not in _NOT_CONTENT}
            return name, [self.digest(value.__bases__), self.digest(own)]
        names = _names(value.__code__)
        used = {key: value.__globals__[key] for key in names if key in value.__globals__}
        return name, [self.digest(each) for each in (
            value.__code__, value.__defaults__, value.__kwdefaults__,
            [_cell(each) for each in value.__closure__ or ()], used)]

    def _object(self, value: Any) -> tuple[str, list[bytes]]:
        """Return the parts by which `copy` and `pickle` make an object again."""
        kind = type(value)
        name = f"object {kind.__module__}.{kind.__qualname__}"
        try:
            reduce = copyreg.dispatch_table.get(kind)
            made = reduce(value) if reduce else value.__reduce_ex__(4)
            parts = [made] if isinstance(made, str) else [
                *made[:3], *(each and list(each) for each in made[3:5])]
        except Exception:  # it cannot be copied
            return name, []
        return name, [self.digest(kind), *map(self.digest, parts)]


def _names(code: CodeType) -> set[str]:
    """Return the global names that a function and those inside it use."""
    inner = (each for each in code.co_consts if isinstance(each, CodeType))
    return {*code.co_names}.union(*map(_names, inner))


def _cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # nothing was assigned yet
        return ...


def _is_installed(file: str, module: str) -> bool:
    """Return whether code comes with Python, with this library or with an installed package."""
    library = Path(taglab.__file__).parent
    return (module in sys.builtin_module_names or file.startswith("<frozen") or
            "site-packages" in file or "dist-packages" in file or
            any(Path(file).is_relative_to(folder)
                for folder in (sysconfig.get_path("stdlib"), library)))
