"""Dates as numbers: the days, hours, minutes or seconds since the beginning of 1970 in UTC.

A date without a time zone is one of UTC. Days have 86,400 seconds: leap seconds are not counted, as in POSIX time.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from types import MappingProxyType
from typing import Any

import numpy as np

SECONDS = MappingProxyType(
    {
        "days since 1970-01-01": 86_400,
        "hours since 1970-01-01": 3600,
        "minutes since 1970-01-01": 60,
        "seconds since 1970-01-01": 1,
    }
)
"""The seconds of each unit that an input may declare."""
_DAYS = ("%d.%m.%Y", "%d.%m.%y", "%d/%m/%Y", "%m/%d/%Y", "%d/%m/%y", "%m/%d/%y", "%Y/%m/%d", "%Y%m%d", "%d-%m-%Y")
_NAMED_DAYS = ("%d-%b-%Y", "%d %b %Y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y")
FORMATS = tuple(day + time for day in (*_DAYS, *_NAMED_DAYS) for time in ("", " %H:%M", " %H:%M:%S"))
"""Formats that dates often have besides that of ISO 8601; of several that fit, the first counts."""

YEARS = ("%Y", "%y", "%G", "%c", "%x", "%D")
"""Codes of `strptime` for what has a year."""

Dates = np.ndarray[Any, Any]
"""An array of datetime64."""


def as_dates(cells: Iterable[Any], date_format: str | None = None) -> Dates:
    """Return cells as datetime64[us]: texts, dates and times of Python or NumPy; NaT where there is nothing.

    Texts are ISO 8601, or have the `date_format` of `strptime`.

    Raises
    ------
    ValueError
        For the first cell that is no date.
    """
    return np.array([_as_date(cell, date_format) for cell in cells], "datetime64[us]")


def _as_date(cell: Any, date_format: str | None) -> Any:
    if _is_empty(cell):
        return np.datetime64("NaT", "us")
    if isinstance(cell, str):
        cell = parsed(cell.strip(), date_format)
    if isinstance(cell, datetime.datetime):
        return _in_utc(cell)
    if isinstance(cell, (np.datetime64, datetime.date)):
        return np.datetime64(cell)
    raise ValueError(f"{cell!r} is not a date")


def _in_utc(time: datetime.datetime) -> np.datetime64:
    return np.datetime64(time.replace(tzinfo=None)) - np.timedelta64(time.utcoffset() or datetime.timedelta())


def _is_empty(cell: Any) -> bool:
    """Whether a cell has nothing: a blank text, NaN, None, or what pandas has for a missing value."""
    if isinstance(cell, str):
        return not cell.strip()
    return cell is None or type(cell).__name__ in ("NAType", "NaTType") or (isinstance(cell, float) and cell != cell)


def parsed(text: str, date_format: str | None) -> datetime.datetime:
    """Return the date of a text.

    Raises
    ------
    ValueError
        If it has another form.
    """
    return _iso_date(text) if date_format is None else _formatted_date(text, date_format)


def _formatted_date(text: str, date_format: str) -> datetime.datetime:
    prefix, year = ("1900|", "%Y|") if _lacks_year(date_format) else ("", "")
    try:
        return datetime.datetime.strptime(prefix + text, year + date_format)
    except (ValueError, re.error):
        raise ValueError(f"{text!r} is not a date of the format {date_format!r}") from None


def _lacks_year(date_format: str) -> bool:
    """Whether a format has a day and no year: Python assumes 1900, warns since 3.13, and may refuse it from 3.15 on."""
    return "%d" in date_format and not any(code in date_format for code in YEARS)


def _iso_date(text: str) -> datetime.datetime:
    try:
        if not text.isascii() or "-" not in text:  # 20240229 may be any number
            raise ValueError
        return datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not an ISO 8601 date, such as 2024-02-29 or 2024-02-29T12:30:00Z") from None


def format_of(text: str) -> str | None:
    """Return a format that a text seems to have; None if it has none of `FORMATS`."""
    for each in FORMATS:
        try:
            parsed(text.strip(), each)
        except ValueError:
            continue
        return each
    return None


def numbers_of_dates(dates: Dates, units: str, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Return dates as numbers of a dtype in one of the units of `SECONDS`; NaT as NaN, of integers as 0.

    Raises
    ------
    ValueError
        If a date is no whole number of a unit, and the dtype is one of integers.
    """
    missing = np.isnat(dates)
    since = np.where(missing, np.datetime64(0, "s"), dates) - np.datetime64(0, "s")
    step = np.timedelta64(SECONDS[units], "s")
    whole, rest = since // step, since % step
    if dtype.kind == "f":
        return np.where(missing, np.nan, whole + rest / step).astype(dtype)
    if (wrong := np.flatnonzero(rest)).size:
        raise ValueError(f"{dates.reshape(-1)[wrong[0]]} is not a whole number of {units}")
    return whole.astype(dtype)
