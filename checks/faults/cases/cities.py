"""City CSVs by hand: what stands in the file, and what the message must name."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from checks.faults.sandbox import DONE, REFUSED, Case
from checks.faults.scene import csv_text, gigabyte

ZEROS = 100_000_001
"""So many of them are too many."""
Content = str | bytes | Callable[[], bytes]
"""What stands in a file; a function makes it when it is needed, for to pack so many zeros takes a while."""


def zipped(members: Mapping[str, str | bytes]) -> bytes:
    """A zip archive of these files."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return data.getvalue()


H = "name,lat,lon\n"
FEATURE = '{"type": "Feature", "properties": {"name": "A"}, "geometry": %s}'
GOOD = "A,1,2\nB,3,4\n"

REFUSED_TEXTS: list[tuple[str, Content, str]] = [
    # structure
    ("nothing", "", "empty"),
    ("blank lines", "\n\n\n", "empty"),
    ("a byte-order mark alone", b"\xef\xbb\xbf", "empty"),
    ("a header alone", H, "no cities"),
    ("no header", "Paris,48,2\nRome,41,12\n", "line 1: no column"),
    ("no name", "lat,lon\n1,2\n", "no column for name"),
    ("no latitude", "name,lon\nA,2\n", "no column for lat"),
    ("no longitude", "name,lat\nA,2\n", "no column for lon"),
    ("a field too many", H + "A,1,2,3\n", "line 2: 4 fields"),
    ("a field too few", H + "A,1\n", "line 2: 2 fields"),
    ("a later line too short", H + GOOD + "C,1\n", "line 4"),
    ("a comma in a bare name", H + "Paris, France,48,2\n", "double quotes"),
    ("a quote that does not end", H + '"A,1,2\nB,3,4\n', "line 2.*quotes"),
    ("text after a quote", H + '"A"x,1,2\n', "line 2.*quotes"),
    ("two columns of one name", "name,lat,lat,lon\nA,1,1,2\n", "same name"),
    ("names equal but for case", "name,Lat,LAT,lon\nA,1,1,2\n", "same name"),
    ("separated by spaces", "name lat lon\nA 1 2\n", "no column"),
    ("HTML", "<html><body>404</body></html>\n", "HTML or XML"),
    ("a git-lfs pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
    ("a merge conflict", H + "<<<<<<< HEAD\nA,1,2\n=======\n", "line 2: 1 fields"),
    ("an empty header field", ",lat,lon\nA,1,2\n", "no column for name"),
    ("a field of 200,000 characters", H + '"' + "x" * 200_000 + '",1,2\n', "line 2"),
    ("100,000 columns", ",".join(f"c{k}" for k in range(100_000)) + "\n", "no cities"),
    ("coordinates in three parts", 'name,Coordinates\nA,"1,2,3"\n', "line 2.*lat,lon"),
    ("coordinates in one part", "name,Coordinates\nA,12\n", "line 2.*lat,lon"),
    ("coordinates empty", 'name,Coordinates\nA,""\n', "line 2.*empty"),
    ("coordinates of words", 'name,Coordinates\nA,"x,y"\n', "line 2.*not a number"),
    # encoding
    ("a zero byte in a name", H.encode() + b"A\0B,1,2\n", "line 2"),
    ("zero bytes", b"\0" * 1000, "no cities"),
    ("Polish Windows", H.encode() + "Łódź,51,19\n".encode("cp1250"), "line 2: not UTF-8"),
    ("Russian Windows", H.encode() + "Москва,55,37\n".encode("cp1251"), "line 2: not UTF-8"),
    ("Shift JIS", H.encode() + "東京,35,139\n".encode("shift-jis"), "line 2: not UTF-8"),
    ("UTF-8 with a broken character", (H + "Köln,50,7\n").encode() + b"M\xfcnchen,48,11\n", "line 3: not UTF-8"),
    ("UTF-16, cut in a character", (H + GOOD).encode("utf-16")[:-1], "line 3: not readable as UTF-16"),
    ("half a character at the end", (H + "A").encode() + b"\xe2\x82", "line 2: not UTF-8"),
    ("a lone surrogate", H.encode() + b"A\xed\xa0\x80,1,2\n", "not UTF-8"),
    ("an overlong slash", H.encode() + b"A\xc0\xaf,1,2\n", "not UTF-8"),
    ("gzip, cut short", b"\x1f\x8b\x08\x00" + b"\0" * 50, "not readable as gzip"),
    ("a zip file (xlsx)", b"PK\x03\x04\x14\x00\x06\x00" + b"\xff" * 30, "not readable as a zip archive"),
    ("a PNG", b"\x89PNG\r\n\x1a\n", "a picture"),
    ("a pickle", b"\x80\x04\x95\x00\x00\x00\x00cposix\nsystem\n.", "not UTF-8"),
    # containers
    ("a zip bomb", lambda: zipped({"a.csv": b"0" * ZEROS}), "larger than 100,000,000 bytes when unpacked"),
    ("a zip bomb in a zip bomb", lambda: zipped({"a.csv": zipped({"a.csv": b"0" * ZEROS})}), "larger than"),
    ("a gzip bomb", lambda: gzip.compress(b"0" * ZEROS, 1), "larger than 100,000,000 bytes when unpacked"),
    ("a bzip2 bomb", lambda: bz2.compress(b"0" * ZEROS, 1), "larger than 100,000,000 bytes when unpacked"),
    ("two tables in a zip", zipped({"a.csv": H + GOOD, "b.csv": H + GOOD}), "several tables"),
    ("an empty zip", zipped({}), "no table in it"),
    ("a zip with an escape sequence in a name", zipped({"\x1b[2J.csv": H + "A,x,1\n"}), "line 2, column 'lat'"),
    ("a workbook", zipped({"xl/workbook.xml": ""}), "Excel workbook"),
    ("Parquet, cut short", b"PAR1" + b"\0" * 100, "not readable as Parquet"),
    ("JSON nested deeply", "[" * 200_000, "nested too deeply"),
    ("JSON objects nested deeply", '[' + '{"a":' * 200_000, "nested too deeply"),
    ("JSON with a number of 100,000 digits", '[{"name": "A", "lat": ' + "9" * 100_000 + ', "lon": 1}]', "column 'lat'"),
    ("GeoJSON of a polygon", FEATURE % '{"type": "Polygon", "coordinates": []}', "cities are points"),
    ("GeoJSON without a place", FEATURE % "null", "no column for lat"),
    # names
    ("an empty name", H + ",1,2\n", "line 2, column 'name'.*empty"),
    ("a blank name", H + "   ,1,2\n", "line 2, column 'name'.*empty"),
    ("a bell in a name", H + "A\a,1,2\n", "control character"),
    ("an escape sequence in a name", H + "A\x1b[31m,1,2\n", "control character"),
    ("a line end in a name", H + '"A\nB",1,2\n', "control character"),
    ("a carriage return in a name", H + '"A\rB",1,2\n', "control character|line 2"),
    ("a tab in a name", H + '"A\tB",1,2\n', "control character"),
    ("a delete in a name", H + "A\x7f,1,2\n", "control character"),
    ("a C1 control in a name", H + "A\x9b31m,1,2\n", "control character"),
    ("a name of 300 characters", H + "x" * 300 + ",1,2\n", "longer than 200"),
    ("an escape sequence in a country", "name,lat,lon,country\nA,1,2,\x1b]0;x\a\n", "column 'country'.*control"),
    ("an escape sequence in a region", "name,lat,lon,region\nA,1,2,\x1b[2J\n", "column 'region'.*control"),
    ("a region of 300 characters", "name,lat,lon,region\nA,1,2," + "r" * 300 + "\n", "longer than 200"),
    ("a city with a virtual city's name", H + "Atlantis_001,1,2\nB,3,4\n", "rename the region"),
    ("a region with a virtual one's name", "name,lat,lon,region\nA,1,2,Atlantis\n", "name already"),
    ("a country with a virtual code", "name,lat,lon,country\nA,1,2,XX0\n", "code 'XX0'"),
]  # fmt: skip

WRONG_NUMBERS = (
    "", " ", "x", "nan", "NaN", "inf", "-inf", "Infinity", "1e999", "1,234,5", "1.2.3", "--1", "+-1", "1e", "e1", ".",
    "0x10", "1_0", "١٢", "½", "²", "48°61'", "48NE", "48O", "1 2", "True", "None", "null", "=1+1", "1;2", "９０",
    "-", "1e+",
)  # fmt: skip
OUTSIDE_LAT = ("90.00001", "-90.1", "91", "180", "1e308", "-1e99", "900")
OUTSIDE_LON = ("180.0001", "-181", "360", "1e308", "9e9")
FOREIGN_IDS = ("", "-1", "1.5", "x", "1e3", "99999999999999999999", "٣", "²", "0x1", " ", "0")
UNREADABLE = ("-1", "x", "1e13", "nan", "inf", "1e400", "²", "n/a", "-99", "\a")

FINE: list[tuple[str, str | bytes]] = [
    ("plain", H + GOOD),
    ("one city", H + "A,1,2\n"),
    ("semicolons", "name;lat;lon\nA;1;2\nB;3;4\n"),
    ("tabs", "name\tlat\tlon\nA\t1\t2\n"),
    ("a byte-order mark", b"\xef\xbb\xbf" + (H + GOOD).encode()),
    ("Windows line ends", (H + GOOD).replace("\n", "\r\n")),
    ("old Mac line ends", (H + GOOD).replace("\n", "\r")),
    ("no line end at the end", H + "A,1,2"),
    ("blank lines between", H + "\nA,1,2\n\n\nB,3,4\n\n"),
    ("other column names", "City Name,Latitude,Lng\nA,1,2\n"),
    ("columns of no meaning", "x,name,y,lat,lon,z\n1,A,2,1,2,3\n"),
    ("coordinates in one column", 'name,Coordinates\nA,"48.8, 2.3"\n'),
    ("quotes doubled", H + '"A ""B""",1,2\n'),
    ("the edges of the map", H + "A,90,180\nB,-90,-180\nC,+0,-0\nD,.5,5.\nE,1e1,-1E-3\n"),
    ("one place twice", H + "A,1,2\nB,1,2\n"),
    ("one name twice", H + "A,1,2\nA,3,4\n"),
    ("Namibia", "name,lat,lon,country\nNA,1,2,NA\nnull,3,4,NaN\n"),
    ("every script", H + "東京,1,2\nالقاهرة,3,4\nМосква,5,6\n🏝,7,8\nתל אביב,9,1\n"),
    ("marks that turn text around", H + "A\u202eB,1,2\n\u2066x,3,4\n"),
    ("formulas for a spreadsheet", H + '"=HYPERLINK(""http://x"")",1,2\n@SUM(1),3,4\n+1,5,6\n-1,7,8\n'),
    ("markup", H + "<script>alert(1)</script>,1,2\n</textarea><svg onload=x>,3,4\n"),
    ("names like paths", H + "../../etc/passwd,1,2\nC:\\x,3,4\n$(touch canary),5,6\n`id`,7,8\n"),
    ("names like formulas of TeX", "name,lat,lon,region\n$\\frac{,1,2,$\\frac{\nB,3,4,_^$$\n"),
    ("markup of the terminal", "name,lat,lon,region\n[bold red]A[/],1,2,[link=http://x]R[/link]\n"),
    ("own ids", "id,name,lat,lon\n1,A,1,2\n0,B,3,4\n"),
    ("ids of a database", "id,name,lat,lon\n2988507,A,1,2\n12,B,3,4\n"),
    ("separated by bars", "name|lat|lon\nA|1|2\n"),
    ("JSON", '[{"name": "A", "lat": 1, "lon": 2}]\n'),
    ("a comment on top", "# cities\nname,lat,lon\nA,1,2\n"),
    ("Latin-1", H.encode() + "Zürich,47,8\n".encode("latin-1")),
    ("Windows-1252", H.encode() + b"A\x93,1,2\n"),
    ("UTF-16, little end first", (H + GOOD).encode("utf-16")),
    ("UTF-16, without a mark", (H + GOOD).encode("utf-16-le")),
    ("UTF-32", (H + GOOD).encode("utf-32")),
    ("gzip", gzip.compress((H + GOOD).encode())),
    ("zip with a name outside", zipped({"../../etc/cities.csv": H + GOOD, "license.txt": "x"})),
    ("empty rows and surplus separators", H + "A,1,2,,\n,,\n,,,,\nB,3,4\n"),
    ("degrees of all kinds", "name\tlat\tlon\nA\t48°51'N\t2°21'E\nB\t12.5S\t7W\n"),
    ("decimal commas", "name;lat;lon\nA;12,5;7,25\n"),
    ("a country of escape sequences", "name,lat,lon,iso2,country_name\nA,1,2,FR,\x1b]0;x\a\n"),
    ("lone quotes between tabs", 'name\tlat\tlon\n"A\t1\t2\nB"\t3\t4\n'),
    ("population of all kinds", "name,lat,lon,population\nA,1,2,\nB,3,4,1e6\nC,5,6,12.4\n"),
]  # fmt: skip


def cases() -> list[Case]:
    found = [_written(f"city CSV: {name}", text, REFUSED, says) for name, text, says in REFUSED_TEXTS]
    for what, column, values in (
        ("latitude", "lat", (*WRONG_NUMBERS, *OUTSIDE_LAT)),
        ("longitude", "lon", (*WRONG_NUMBERS, *OUTSIDE_LON)),
    ):
        for value in values:
            row = f'"C","{value}","1"' if column == "lat" else f'"C","1","{value}"'
            says = f"line 4, column '{column}'"
            found.append(_written(f"city CSV: {what} {value!r}", f"{H}{GOOD}{row}\n", REFUSED, says))
    for value in FOREIGN_IDS:
        text = f'id,name,lat,lon\n0,A,1,2\n"{value}",B,3,4\n'
        found.append(_written(f"city CSV: id {value!r}", text, DONE, "real cities"))
    for value in UNREADABLE:
        text = f'name,lat,lon,population\nA,1,2,"{value}"\n'
        found.append(_written(f"city CSV: population {value!r}", text, DONE, "1 of 1 not readable.*first on line 2"))
    for value in ("1", "true", "yes", "True"):
        text = f"name,lat,lon,is_virtual\nA,1,2,{value}\n"
        found.append(_written(f"city CSV: is_virtual {value}", text, REFUSED, "is_virtual.*virtual city"))
    found += [_written(f"city CSV: {name}", text, DONE, "real cities") for name, text in FINE]
    return found + [Case(f"city CSV: {name}", prepare, REFUSED, says) for name, (prepare, says) in SPECIAL.items()]


def _written(name: str, content: Content, expect: str, says: str) -> Case:
    def prepare(scene: Path) -> list[str]:
        made = content() if callable(content) else content
        (scene / "work" / "mine.csv").write_bytes(made.encode() if isinstance(made, str) else made)
        return BUILD

    return Case(name, prepare, expect, says)


BUILD = ["world", "build", "--cities", "mine.csv", "--out", "w"]


def _linked(target: str):
    def prepare(scene: Path) -> list[str]:
        (scene / "work" / "mine.csv").symlink_to(target)
        return BUILD

    return prepare


def _fifo(scene: Path) -> list[str]:
    os.mkfifo(scene / "work" / "mine.csv")
    return BUILD


def _folder(scene: Path) -> list[str]:
    (scene / "work" / "mine.csv").mkdir()
    return BUILD


def _sparse(size: int):
    def prepare(scene: Path) -> list[str]:
        with open(scene / "work" / "mine.csv", "wb") as file:
            file.truncate(size)
        return BUILD

    return prepare


def _gigabyte(scene: Path) -> list[str]:
    gigabyte(scene, "mine.csv")
    return BUILD


def _long(scene: Path) -> list[str]:
    (scene / "work" / "mine.csv").write_text(csv_text(100_000) + "x\n")
    return BUILD


SPECIAL = {
    "not there": (lambda scene: BUILD, "mine.csv: cannot be read"),
    "below a file": (lambda scene: ["world", "build", "--cities", "tiny.yaml/x", "--out", "w"], "tiny.yaml/x"),
    "a path of 300 characters": (lambda scene: ["world", "build", "--cities", "x" * 300, "--out", "w"], "too long"),
    "a name with a zero byte": (lambda scene: ["world", "build", "--cities", "a\0b", "--out", "w"], "null"),
    "/dev/zero": (lambda scene: ["world", "build", "--cities", "/dev/zero", "--out", "w"], "a pipe or a device"),
    "/dev/random": (lambda scene: ["world", "build", "--cities", "/dev/random", "--out", "w"], "a pipe or a device"),
    "/dev/null": (lambda scene: ["world", "build", "--cities", "/dev/null", "--out", "w"], "a pipe or a device"),
    "a pipe that nobody writes to": (_fifo, "a pipe or a device"),
    "a link to /dev/zero": (_linked("/dev/zero"), "a pipe or a device"),
    "a link to itself": (_linked("mine.csv"), "mine.csv"),
    "a link to nothing": (_linked("nowhere"), "cannot be read"),
    "a folder": (_folder, "is a folder"),
    "zero bytes without end": (_sparse(1 << 25), "no cities|line 1: not readable"),
    "a gigabyte": (_gigabyte, "mine.csv: is larger than"),
    "100,000 lines and a wrong one": (_long, "line 100002"),
    "/proc/self/mem": (
        lambda scene: ["world", "build", "--cities", "/proc/self/mem", "--out", "w"],
        "cannot be read|mem",
    ),
}
