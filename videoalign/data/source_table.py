"""Tables that somebody else wrote, row by row, each row knowing where it stood."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from videoalign.data.readers import READERS, kind_of
from videoalign.data.rows import Row
from videoalign.errors import DataError, did_you_mean
from videoalign.video.addresses import folder_of, is_address, path_of, plain_place

__all__ = ["Row", "SourceTable"]


@dataclass(frozen=True)
class SourceTable:
    """A table; its rows are read from the file each time they are asked for, and not kept."""

    location: str
    """Path or address it is read from."""
    columns: tuple[str, ...]
    num_rows: int

    @classmethod
    def open(cls, location: str | Path) -> SourceTable:
        """Looks through a table once, for its columns and whether all of it can be read.

        An address such as s3://bucket/pairs.csv goes through fsspec. Of a folder, the one table in it is taken.

        Raises:
            DataError: missing, of an unknown kind, malformed or empty; or a folder with no table or several.
        """
        location = plain_place(location)
        if not is_address(location) and Path(location).is_dir():
            location = _only_table(Path(location))
        kind = kind_of(location)
        if kind is None:
            wanted = f".{', .'.join(READERS)}"
            raise DataError(
                f"{location}: a table must end in {wanted}, those of text also with .gz; save a spreadsheet as CSV, "
                "convert or rename other files."
            )
        columns, num_rows = kind.scan(location)
        if not num_rows:
            raise DataError(f"{location}: the table has no rows.")
        return cls(location, columns, num_rows)

    @property
    def rows(self) -> Iterator[Row]:
        """The rows in order, from the start.

        Raises:
            DataError: the file can no longer be read.
        """
        kind = kind_of(self.location)
        assert kind is not None
        return kind.rows(self.location)

    @property
    def name(self) -> str:
        """Last part of the location."""
        return path_of(self.location).name

    @property
    def folder(self) -> str:
        """The folder or address that the table stands in."""
        return folder_of(self.location)

    def require(self, *columns: str) -> None:
        """Checks that the table has these columns.

        Raises:
            DataError: one is missing.
        """
        for column in columns:
            if column not in self.columns:
                raise DataError(f"{self.location}: no column '{column}'.{did_you_mean(column, self.columns)}")


def _only_table(folder: Path) -> str:
    tables = sorted(file.name for file in folder.iterdir() if kind_of(str(file)))
    if len(tables) != 1:
        what = f"holds {len(tables)} tables ({', '.join(tables[:4])})" if tables else "holds no table"
        raise DataError(f"{folder}: {what}; give the path of the one that is meant.")
    return str(folder / tables[0])
