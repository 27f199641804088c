"""YAML to and from a file, bounded: plain values, no key twice, no more than a person writes. The one user of yaml."""

from __future__ import annotations

import re
import stat
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from nuwrap.errors import SpecError

FILE_BYTES = 1024 * 1024
NODES = 100_000  # aliases counted as often as they are used, so that nine lines cannot become a billion values


# Without the base 60 of YAML 1.1, which takes 15 s to read 600 KB of `1:1:1…`, and its octal 0777.
_NUMBERS = {
    "tag:yaml.org,2002:int": re.compile(
        r"[-+]?(?:0|[1-9][0-9_]*)$|0x[0-9a-fA-F_]*[0-9a-fA-F]$|0o[0-7_]*[0-7]$|0b[01_]*[01]$"
    ),
    "tag:yaml.org,2002:float": re.compile(
        r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))$"
        r"|\.(?:nan|NaN|NAN)$"
    ),
}

_BREAKS = frozenset("\x85\u2028\u2029")  # line breaks to PyYAML, which folds them unless they are escaped


class _Loader(yaml.SafeLoader):
    """`yaml.SafeLoader` that refuses a key given twice; YAML's merge key `<<` is no repetition."""

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Read a whole number, be its tag written out."""
        text = str(self.construct_scalar(node)).replace("_", "")
        return int(text, 0) if re.match(r"0[xob]", text) else int(text)

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        """Read a number, be its tag written out."""
        return float(re.sub(r"^([-+]?)\.(inf|nan)$", r"\1\2", str(self.construct_scalar(node)).lower()))

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - as overridden
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    problem = f"the key {key.value!r} is there twice"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, _NUMBERS.get(tag, pattern)) for tag, pattern in resolvers]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_yaml_float)


def load_documents(path: Path, *, most: int = FILE_BYTES) -> list[Any]:
    """Return the values of the file's YAML documents, empty ones left out.

    Raises SpecError, also for a file of more than `most` bytes, or of more values than that many bytes may have.
    """
    return parse_documents(_read(path, most), repr(str(path)), most=most)


def parse_documents(text: str, origin: str, *, most: int = FILE_BYTES) -> list[Any]:
    """Return the values of a text's YAML documents; `origin` begins the message of a fault. See `load_documents`."""
    try:
        values = _construct(text, _nodes(most))
    except yaml.MarkedYAMLError as exc:
        raise SpecError(f"{origin} is not valid YAML: {_describe(exc)}") from exc
    except (yaml.YAMLError, ValueError) as exc:  # ValueError: a date or a number that looks like one and is none
        raise SpecError(f"{origin} is not valid YAML: {exc}") from exc
    except RecursionError as exc:
        raise SpecError(f"{origin} is nested too deeply") from exc
    return [value for value in values if value is not None]


def dump_document(document: Mapping[str, Any], *, most: int = FILE_BYTES) -> str:
    """Return the document as YAML that `load_documents` reads again: keys in their order, texts of lines as blocks.

    Raises SpecError for one that `load_documents` would refuse by its size.
    """
    values = _count(document)
    if values > _nodes(most):
        raise SpecError(f"it has {values} values; a file that can be read again has {_nodes(most)} at most")
    text = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    size = len(text.encode("utf-8"))
    if size > most:
        raise SpecError(f"it has {size} bytes; a file that can be read again has {most} at most")
    return text


def _nodes(most: int) -> int:
    """Return how many values a file of so many bytes may have."""
    return NODES * (most // FILE_BYTES)


def _count(value: Any) -> int:
    """Return how many values it has, as `_size` counts those that are written."""
    if isinstance(value, Mapping):
        return 1 + sum(_count(one) for pair in value.items() for one in pair)
    return 1 + sum(map(_count, value)) if isinstance(value, (list, tuple)) else 1


class _Dumper(yaml.SafeDumper):
    """`yaml.SafeDumper` that writes code as a person would, and what stands at two places twice."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - as overridden
        """Return that no value is written as an alias of another."""
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    if set(text) & _BREAKS:
        style: str | None = '"'
    else:
        is_block = "\n" in text and not any(line != line.rstrip() for line in text.splitlines())
        style = "|" if is_block else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)
_Dumper.yaml_implicit_resolvers = {  # a text that either YAML takes for another value is quoted
    first: [*resolvers, *_Loader.yaml_implicit_resolvers[first]]
    for first, resolvers in yaml.SafeDumper.yaml_implicit_resolvers.items()
}


def _construct(text: str, most: int) -> list[Any]:
    loader = _Loader(text)
    try:
        nodes = []
        while loader.check_node():
            nodes.append(loader.get_node())
            _check_size(nodes[-1], most)
        return [loader.construct_document(node) for node in nodes if node is not None]
    finally:
        loader.dispose()


def _read(path: Path, most: int) -> str:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for, a device may never end
            raise SpecError(f"{str(path)!r} is no regular file; name a YAML file, or a folder with a function.yaml")
        with path.open("rb") as stream:
            data = stream.read(most + 1)
    except OSError as exc:
        raise SpecError(f"cannot read {str(path)!r}: {exc.strerror}") from exc
    if len(data) > most:
        raise SpecError(f"{str(path)!r} has more than {most} bytes; a file of ours is small: code stands in code_src")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise SpecError(f"{str(path)!r} is not UTF-8 text: {exc}") from exc


def _describe(exc: yaml.MarkedYAMLError) -> str:
    mark = exc.problem_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return where + (exc.problem or str(exc))


def _check_size(node: yaml.Node | None, most: int) -> None:
    if node is not None and _size(node, {}, most) > most:
        raise yaml.YAMLError(f"it has more than {most} values, aliases counted each time they are used")


def _size(node: yaml.Node, known: dict[int, int], most: int) -> int:
    """Return how many nodes it is with every alias written out; one inside itself counts as too many."""
    if id(node) not in known:
        known[id(node)] = most + 1
        children = node.value if isinstance(node, yaml.SequenceNode) else []
        if isinstance(node, yaml.MappingNode):
            children = [one for pair in node.value for one in pair]
        known[id(node)] = 1 + sum(_size(child, known, most) for child in children)
    return known[id(node)]
