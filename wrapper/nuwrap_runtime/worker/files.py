"""Values as files of the outputs folder: named by number, whole or not there. Knows pandas and its like by their looks.

Nothing is imported here for a value that cannot be there: a data frame exists only when pandas or polars is loaded.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any, Callable, Optional

from nuwrap_runtime.errors import OutputsError

UNKEPT = (
    "a file, and outputs are kept nowhere; set artifacts_store, `nuwrap config set artifacts_store "
    "s3://BUCKET/FOLDER`, or return what JSON can hold"
)
FRAME, FIGURE, BYTES, FILE = "data frame", "figure", "bytes", "file"


def form_of(value: Any) -> str:
    """Return which kind of file the value becomes; "" when it is none."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return BYTES
    if isinstance(value, os.PathLike):
        return FILE
    if _is_a(value, ("pandas", "polars"), ("DataFrame", "Series", "LazyFrame")):
        return FRAME
    return FIGURE if figure_of(value) is not None else ""


def is_entity(value: Any) -> bool:
    """Tell whether the value is a stored thing of ours; imports nothing for one that is not."""
    return _is_a(value, ("nuwrap_runtime.stored",), ("Entity",))


def figure_of(value: Any) -> Any:
    """Return a matplotlib figure, that of an axes; None for all else."""
    if _is_a(value, ("matplotlib.axes",), ("Axes",)):
        figure = value.figure
        while figure is not None and not hasattr(figure, "savefig"):  # a sub-figure
            figure = figure.figure
        return figure
    return value if _is_a(value, ("matplotlib.figure",), ("Figure",)) else None


def _is_a(value: Any, modules: tuple[str, ...], names: tuple[str, ...]) -> bool:
    for module in modules:
        loaded = sys.modules.get(module)
        kinds = [getattr(loaded, name, None) for name in names] if loaded is not None else []
        if any(isinstance(kind, type) and isinstance(value, kind) for kind in kinds):
            return True
    return False


def check_writable(folder: str) -> None:
    """Make the folder and prove that a file can be written to it. Raises OutputsError."""
    probe = os.path.join(folder, f".probe-{os.getpid()}")
    try:
        os.makedirs(folder, exist_ok=True)
        with open(probe, "wb") as stream:
            stream.write(b"x")
        os.unlink(probe)
    except OSError as exc:
        raise OutputsError(f"the outputs folder {folder!r} cannot be written: {exc}; nothing was run") from exc


def has_parquet() -> bool:
    """Tell whether pandas would find an engine for parquet; imports none."""
    from importlib.util import find_spec

    for name in ("pyarrow", "fastparquet"):
        try:
            if find_spec(name) is not None:
                return True
        except (ImportError, ValueError):  # a module of the name without a spec
            continue
    return False


class FileWriter:
    """Writes files `<prefix><number>.<suffix>` to one folder; a number is used once."""

    def __init__(self, folder: str, warn: Callable[[str], None], prefix: str = "") -> None:
        self.folder = folder
        self.warn = warn
        self.prefix = prefix
        self.number = 0
        self.parquet: Optional[bool] = None

    def write(self, value: Any, name: str) -> str:
        """Return the file's name in the folder. Raises OutputsError when the value cannot be written."""
        form = form_of(value)
        if form == FRAME:
            return self._write_frame(value, name)
        if form == FIGURE:
            figure = figure_of(value)
            return self._place("png", name, lambda path: figure.savefig(path, format="png"))
        if form == BYTES:
            return self._place("bin", name, lambda path: _write_bytes(path, bytes(value)))
        return self.write_file(os.fspath(value), name)

    def write_file(self, source: str, name: str) -> str:
        """Return the name of a copy of the file."""
        import shutil

        return self._place(suffix_of(source), name, lambda path: shutil.copyfile(source, path))

    def write_pickle(self, value: Any, name: str) -> str:
        """Return the name of the pickle's file. Raises OutputsError when the value cannot be pickled."""
        import pickle

        return self._place("pickle", name, lambda path: _write_bytes(path, pickle.dumps(value)))

    def write_folder(self, source: str, name: str) -> str:
        """Return the name of a zip archive of the folder."""
        import shutil

        def pack(path: str) -> None:
            os.replace(shutil.make_archive(path, "zip", source), path)

        return self._place("zip", name, pack)

    def _write_frame(self, value: Any, name: str) -> str:
        frame = _as_frame(value, name)
        if hasattr(frame, "write_parquet"):  # polars brings its own writer
            return self._first(name, (("parquet", frame.write_parquet), ("csv", frame.write_csv)))
        if self.parquet is None:
            self.parquet = has_parquet()
        index = not _is_plain_index(frame)
        csv = ("csv", lambda path: frame.to_csv(path, index=index))
        if not self.parquet:
            self.warn(
                f"output {name!r} is written as CSV, since neither pyarrow nor fastparquet is installed; "
                "add 'pyarrow' to the requirements for parquet"
            )
            return self._first(name, (csv,))
        return self._first(name, (("parquet", frame.to_parquet), csv))

    def _first(self, name: str, ways: tuple[tuple[str, Callable[[str], Any]], ...]) -> str:
        """Return the file of the first way that works: a frame that parquet cannot hold is better CSV than lost."""
        for suffix, write in ways[:-1]:
            try:
                return self._place(suffix, name, write)
            except OutputsError as exc:
                self.warn(f"{exc}; it is written as CSV")
        suffix, write = ways[-1]
        return self._place(suffix, name, write)

    def _place(self, suffix: str, name: str, write: Callable[[str], Any]) -> str:
        """Have `write` fill a temporary file, then give it its name, so that a name means a whole file."""
        final = self._free(suffix)
        temporary = os.path.join(self.folder, f".{final}.tmp")
        try:
            write(temporary)
            os.replace(temporary, os.path.join(self.folder, final))
        except Exception as exc:  # a library's writer may raise anything
            raise OutputsError(f"output {name!r} cannot be written as {suffix}: {type(exc).__name__}: {exc}") from exc
        finally:
            if os.path.lexists(temporary):  # also when a SIGTERM was raised in the writer
                os.unlink(temporary)
        self.number += 1
        return final

    def _free(self, suffix: str) -> str:
        while True:
            final = f"{self.prefix}{self.number:03d}.{suffix}"
            if not os.path.lexists(os.path.join(self.folder, final)):
                return final
            self.number += 1  # the user's own file, or one of a run before


def _as_frame(value: Any, name: str) -> Any:
    if hasattr(value, "to_frame"):
        unnamed = value.name is None or value.name == ""
        return value.to_frame(name) if unnamed else value.to_frame()
    return value.collect() if hasattr(value, "collect") else value


def _is_plain_index(frame: Any) -> bool:
    index: Any = getattr(frame, "index", None)
    return type(index).__name__ == "RangeIndex" and index.name is None and index.start == 0 and index.step == 1


def _write_bytes(path: str, data: bytes) -> None:
    with open(path, "wb") as stream:
        stream.write(data)


def suffix_of(path: str) -> str:
    """Return the file name's suffix without dot where it is a harmless one, else `bin`."""
    suffix: str = os.path.splitext(path)[1][1:]
    return suffix if suffix.isascii() and suffix.isalnum() and len(suffix) <= 10 else "bin"


def own_folders(root: str) -> dict[str, str]:
    """Return the folders that a returned file may lie in, by what people call them."""
    tempfile = sys.modules.get("tempfile")  # not imported for it when the user's code does not use it
    temporary = str(tempfile.gettempdir()) if tempfile else os.environ.get("TMPDIR") or "/tmp"  # noqa: S108 - the default of all
    return {
        "the source root": root,
        "the temporary folder": temporary,
        "the work folder": os.environ.get("NUWRAP_WORK", ""),
    }


def check_inside(value: Any, allowed: Mapping[str, str], name: str) -> str:
    """Return the file's real path when it lies in one of the folders (`{"the source root": "/…"}`).

    Raises OutputsError for what is missing, is no plain file, or lies elsewhere, symbolic links resolved.
    """
    path = os.fspath(value)
    real: str = os.path.realpath(path)
    folders = {os.path.realpath(folder): title for title, folder in allowed.items() if folder}
    if not any(real.startswith(os.path.join(folder, "")) for folder in folders):
        places = ", ".join(f"{title} ({folder})" for folder, title in folders.items())
        raise OutputsError(f"output {name!r}: {path!r} lies at {real!r}; a returned file must lie in {places}")
    if os.path.isdir(real):
        raise OutputsError(
            f"output {name!r}: {path!r} is a folder; return a file, such as "
            "Path(shutil.make_archive('out', 'zip', folder))"
        )
    if not os.path.isfile(real):
        what = "is no plain file" if os.path.exists(real) else "does not exist"
        raise OutputsError(f"output {name!r}: {path!r} {what}; write the file, then return its Path")
    return real
