"""City files that people have: each is read for its right values, or refused with one message that says what to do."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from atlantis.errors import UserError
from atlantis.world import World
from atlantis.world.cities import CityFile, read_cities, shipped_cities, with_regions
from atlantis.world.countries import alpha2
from atlantis.world.degrees import degrees
from atlantis.world.populations import populations
from atlantis.world.regions import OTHER, region_of_country

INPUTS = Path(__file__).with_name("inputs") / "cities"


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., CityFile]:
    def written(content: str | bytes, name: str = "mine.csv") -> CityFile:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return with_regions(read_cities(path))

    return written


def rows(file: CityFile, *columns: str) -> list[tuple]:
    return list(file.cities[list(columns)].itertuples(index=False, name=None))


# --- the files of tests/inputs: what each must give for a city that is known, and what must be told

PLAIN = pd.read_csv(INPUTS / "plain.csv", keep_default_na=False)
KNOWN = {  # file: (name, country, population) of Jepara, whose place is (110.67100, -6.59240)
    "plain.csv": ("Jepara", "ID", 1257912),
    "plain.csv.gz": ("Jepara", "ID", 1257912),
    "sep_line.csv": ("Jepara", "ID", 1257912),
    "name_lat_lon.csv": ("Jepara", "", 0),
    "trailing_blank_rows.csv": ("Jepara", "", 0),
    "thousands.csv": ("Jepara", "", 1257912),
    "decimal_comma_en.csv": ("Jepara", "", 1257912),
    "dup_osm_ids.tsv": ("Jepara", "", 0),
    "geonames15000.txt": ("Jepara", "ID", 1257912),
    "geonames_header_quote.tsv": ('"Jepara', "ID", 1257912),
    "ne_10m_populated_places.csv": ("Jepara", "ID", 1257912),
    "ne_10m_populated_places.geojson": ("Jepara", "", 1257912),
    "wikidata.csv": ("Jepara", "", 1257912),
    "worldcitiespop.csv": ("Jepara", "ID", 1257912),
    "berkeley.csv": ("Jepara", "X", 0),
    "country_names.csv": ("Jepara", "Elsewhere", 0),
}


@pytest.mark.parametrize("name", KNOWN)
def test_each_known_file_gives_the_same_sixty_places(name: str) -> None:
    file = with_regions(read_cities(INPUTS / name))
    cities = file.cities
    # Berkeley Earth has two decimals.
    within = 0.00501 if name == "berkeley.csv" else 1e-9
    np.testing.assert_allclose(cities["lon"], PLAIN["lon"], atol=within)
    np.testing.assert_allclose(cities["lat"], PLAIN["lat"], atol=within)
    assert tuple(cities.loc[5, ["name", "country", "population"]]) == KNOWN[name]
    # Every city has the region of its country, whether the file tells the country or the nearest city does.
    assert cities["region"].tolist() == [region_of_country[code] for code in PLAIN["country"]]
    without = sum(code not in region_of_country for code in cities["country"])
    assert any(f"{without} cities without a country" in note for note in file.notes) == (without > 0)
    if KNOWN[name][2]:
        population = cities["population"].to_numpy()
        assert ((population == PLAIN["population"]) | (population == 0)).all() and (population > 0).mean() >= 0.5


@pytest.mark.parametrize(
    ("name", "n", "regions"),
    [
        ("few9.csv", 9, {"North America", "Western Europe"}),
        ("one.csv", 1, {"Africa"}),
        ("parallel_frac.csv", 60, {"Western Europe"}),
        ("region_real.csv", 60, {"all", "real"}),
    ],
)
def test_small_and_odd_files_are_read(name: str, n: int, regions: set[str]) -> None:
    cities = with_regions(read_cities(INPUTS / name)).cities
    assert len(cities) == n and set(cities["region"]) == regions


def test_what_is_told_of_the_known_files() -> None:
    def told(name: str) -> str:
        return "\n".join(with_regions(read_cities(INPUTS / name)).notes)

    assert "name from 'AccentCity'" in told("worldcitiespop.csv")
    assert "'Region' (codes, not regions of the world)" in told("worldcitiespop.csv")
    assert "no country is known by the name 'Elsewhere' (37)" in told("country_names.csv")
    assert "place from 'coord' (longitude first)" in told("wikidata.csv")
    assert "no header" in told("geonames15000.txt") and "quotes in it are letters" in told("geonames_header_quote.tsv")
    assert "'@id' (ids that are not 0 to n-1)" in told("dup_osm_ids.tsv")
    plain = with_regions(read_cities(INPUTS / "plain.csv"))
    assert plain.notes == [
        f"{INPUTS / 'plain.csv'}: 60 cities; name from 'name', latitude from 'lat', longitude from 'lon', population "
        "from 'population', country from 'country'; not used: nothing"
    ]


@pytest.mark.usefixtures("warm")
def test_the_command_tells_it_once(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "atlantis", "world", "build", "--real-only", "--out", str(tmp_path / "w")]
    done = subprocess.run([*command, "--cities", str(INPUTS / "country_names.csv")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == len(set(lines)) == 3
    assert lines[0].endswith("60 cities; name from 'city', latitude from 'lat', longitude from 'lng', country from "
                             "'country'; not used: nothing")  # fmt: skip
    assert World.load(tmp_path / "w").regions[0] == "Africa"


def test_a_file_is_told_of_once_in_a_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.csv").write_text("name,lat,lon,country\nA,48,2,FR\n")
    for _ in range(2):
        World.build(tmp_path / "mine.csv", regions=())
    assert capsys.readouterr().err.count("mine.csv: 1 city; name from 'name'") == 1


# --- databases beside those of the inputs

H = "name,lat,lon\n"
WIKIDATA = "http://www.wikidata.org/entity/"
FILES = {
    "SimpleMaps": (
        '"city","city_ascii","lat","lng","country","iso2","iso3","admin_name","capital","population","id"\n'
        '"Tōkyō","Tokyo","35.6870","139.7495","Japan","JP","JPN","Tōkyō","primary","37785000.0","1392685764"\n',
        ("Tōkyō", 35.687, 139.7495, "JP", 37785000, "Japan"),
    ),
    "OpenDataSoft": (
        "Geoname ID;Name;ASCII Name;Feature Class;Country Code;Country name EN;Country Code 2;Population;Coordinates\n"
        "1;Windhoek;Windhoek;P;NA;Namibia;;268132;-22.55941, 17.08323\n",
        ("Windhoek", -22.55941, 17.08323, "NA", 268132, "Africa"),
    ),
    "UN/LOCODE": (
        "Change,Country,Location,Name,NameWoDiacritics,Subdivision,Status,Function,Date,IATA,Coordinates,Remarks\n"
        ",DE,BER,Berlin,Berlin,BE,AI,12345---,0307,,5230N 01322E,\n",
        ("Berlin", 52.5, 13.36667, "DE", 0, "Western Europe"),
    ),
    "Esri": (
        "X,Y,FID,CITY_NAME,ADMIN_NAME,FIPS_CNTRY,CNTRY_NAME,POP,POP_RANK\n-57.8,-30.17,1,Artigas,x,UY,Uruguay,5,0\n",
        ("Artigas", -30.17, -57.8, "UY", 5, "South America"),
    ),
    "capitals": (
        "CountryName,CapitalName,CapitalLatitude,CapitalLongitude,CountryCode,ContinentName\n"
        "Somaliland,Hargeisa,9.55,44.05,NULL,Africa\n",
        ("Hargeisa", 9.55, 44.05, "Somaliland", 0, "Africa"),
    ),
    "US Census": (
        "USPS\tGEOID\tNAME\tALAND\tINTPTLAT\tINTPTLONG     \nAL\t01\tAbanda CDP\t77\t 33.091627\t-85.527029     \n",
        ("Abanda CDP", 33.09163, -85.52703, "", 0, "North America"),
    ),
    "Natural Earth, without codes": (
        "NAME,LATITUDE,LONGITUDE,ISO_A2,ADM0_A3,ADM0NAME,POP_MAX\nPristina,42.6,21.1,-99,KOS,Kosovo,-99\n",
        ("Pristina", 42.6, 21.1, "XK", 0, "Eastern Europe"),
    ),
    "Wikidata, with labels": (
        "city,cityLabel,country,countryLabel,coord\n"
        f"{WIKIDATA}Q90,Paris,{WIKIDATA}Q142,France,Point(2.35139 48.85694)\n",
        ("Paris", 48.85694, 2.35139, "FR", 0, "Western Europe"),
    ),
    "GeoPandas": (
        ",name,country,geometry\n0,Paris,France,POINT (2.35 48.85)\n",
        ("Paris", 48.85, 2.35, "FR", 0, "Western Europe"),
    ),
    "Russian cities": (
        "region,city,geo_lat,geo_lon,population,country\nАдыгея,Адыгейск,44.878414,39.190289,12689,Россия\n",
        ("Адыгейск", 44.87841, 39.19029, "RU", 12689, "Адыгея"),
    ),
    "Excel, German": (
        "sep=;\r\nStadt;Breitengrad;Längengrad;Einwohner;Land;;\r\nKöln;50,9375;6,9603;1.083.498;Deutschland;;\r\n;;;;;;\r\n",
        ("Köln", 50.9375, 6.9603, "DE", 1083498, "Western Europe"),
    ),
    "R": (
        '"","name","lat","lon","country"\n"1","Pristina",42.66,21.16,NA\n"2","Roma",41.9,12.5,"Italy"\n'
        '"3","Bari",41.1,16.9,"Italy"\n',
        ("Pristina", 42.66, 21.16, "", 0, "Eastern Europe"),
    ),
    "comments and a title": (
        '# he said "hi\nCities,,\n\nname,lat,lon\nParis,48.85,2.35\n# end\n',
        ("Paris", 48.85, 2.35, "", 0, "Western Europe"),
    ),
    "a header that is a comment": ("#name|lat|lon\nParis|48.85|2.35\n",
    ("Paris", 48.85, 2.35, "", 0, "Western Europe")),
    "Wikidata, TSV with types": (
        f'?item\t?itemLabel\t?coord\n<{WIKIDATA}Q90>\t"Paris"@en\t"Point(2.35 48.85)"^^<http://www.opengis.net/wkt>\n',
        ("Paris", 48.85, 2.35, "", 0, "Western Europe"),
    ),
    "GeoNames, with commas": (
        '1,Paris,Paris,"a,b",48.85,2.35,P,PPLC,FR,,11,,,,2138551,,,Europe/Paris,2024-01-01\n',
        ("Paris", 48.85, 2.35, "FR", 2138551, "Western Europe"),
    ),
    "postal codes": (
        "DE\t01945\tRuhland\tBrandenburg\tBB\t\t00\tX\t1\t51.4576\t13.8664\t4\n",
        ("Ruhland", 51.4576, 13.8664, "DE", 0, "Western Europe"),
    ),
    "ArcGIS": ("NAME,POINT_X,POINT_Y,country\nA,2.35,48.85,FR-IDF\n", ("A", 48.85, 2.35, "FR", 0, "Western Europe")),
    "R, write.table": (
        'name\tlat\tlon\n1\tParis\t48.85\t2.35\n2\tRome\t41.9\t12.5\n', ("Paris", 48.85, 2.35, "", 0, "Western Europe"),
    ),
    "OpenWeather": (
        json.dumps([{"id": 7, "name": "Hurzuf", "country": "UA", "coord": {"lon": 34.283333, "lat": 44.549999}}]),
        ("Hurzuf", 44.55, 34.28333, "UA", 0, "Eastern Europe"),
    ),
    "Overpass": (
        json.dumps({"elements": [{"type": "way", "id": 6, "center": {"lat": 48.85, "lon": 2.35},
                                  "tags": {"name": "Paris", "population": "2 138 551"}}]}),
        ("Paris", 48.85, 2.35, "", 2138551, "Western Europe"),
    ),
    "JSON lines": (
        '{"name": "Paris", "lat": 48.85, "lng": 2.35}\n', ("Paris", 48.85, 2.35, "", 0, "Western Europe"),
    ),
    "GeoJSON beside other degrees": (
        json.dumps({"type": "FeatureCollection", "features": [
            {"type": "Feature", "properties": {"NAME": "Paris", "LATITUDE": 1, "LONGITUDE": 1},
             "geometry": {"type": "Point", "coordinates": [2.35, 48.85, 35]}}]}),
        ("Paris", 48.85, 2.35, "", 0, "Western Europe"),
    ),
    "a query of Wikidata, as JSON": (
        json.dumps({"head": {}, "results": {"bindings": [
            {"itemLabel": {"type": "literal", "value": "Paris", "xml:lang": "en"},
             "coord": {"type": "literal", "datatype": "wkt", "value": "Point(2.35 48.85)"}}]}}),
        ("Paris", 48.85, 2.35, "", 0, "Western Europe"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_files_of_other_databases(read: Callable[..., CityFile], kind: str) -> None:
    text, first = FILES[kind]
    file = read(text)
    assert rows(file, "name", "lat", "lon", "country", "population", "region")[0] == first, file.notes


def test_geonames_keeps_populated_places(read: Callable[..., CityFile]) -> None:
    line = "{}\t{}\tx\t\t47.1\t9.5\t{}\tX\tLI\t\t\t\t\t\t{}\t\t400\tEurope/Vaduz\t2024-01-01\n"
    file = read(
        line.format(1, "Vaduz", "P", 5197) + line.format(2, "Rhein", "H", 0) + line.format(3, "Naafkopf", "T", 0)
    )
    assert file.cities["name"].tolist() == ["Vaduz"]
    assert any("left out 2 lines with something else than a populated place" in note for note in file.notes)


def test_other_encodings_are_told(read: Callable[..., CityFile]) -> None:
    text = "Country,City,AccentCity,Region,Population,Latitude,Longitude\nad,aixas,Aixàs,06,,42.4833,1.4667\n"
    file = read(text.encode("latin-1"))
    assert rows(file, "name", "country") == [("Aixàs", "AD")]
    assert "not UTF-8 (line 2): read as Windows-1252" in file.notes[0]
    for codec in ("utf-16-le", "utf-16-be"):  # the header is of plain letters, the names are not
        file = read("name,lat,lon\nМосква,55.7,37.6\nСанкт-Петербург,59.9,30.3\n".encode(codec))
        assert file.cities["name"].tolist() == ["Москва", "Санкт-Петербург"]


def test_a_tab_in_quotes_is_no_column_where_the_last_one_is_empty(read: Callable[..., CityFile]) -> None:
    file = read('country\tnote\tname\tlat\tlon\televation\nCI\ta\tA\t5\t-4\t\nCI\t"a\tb"\tB\t6\t-5\t\n', "f.tsv")
    assert rows(file, "name", "lon", "lat") == [("A", -4.0, 5.0), ("B", -5.0, 6.0)]


def test_a_pair_of_lone_quotes_swallows_no_lines(read: Callable[..., CityFile]) -> None:
    file = read('name\tlat\tlon\n"A\t1\t2\nB\t3\t4\nC"\t5\t6\n"D"\t7\t8\n')
    assert file.cities["name"].tolist() == ['"A', "B", 'C"', '"D"']
    file = read('"name"\t"lat"\t"lon"\n"A ""b"""\t"1"\t"2"\n')
    assert file.cities["name"].tolist() == ['A "b"']


def test_a_city_of_many_dates_is_one_city(read: Callable[..., CityFile]) -> None:
    head = "dt,AverageTemperature,City,Country,Latitude,Longitude\n"
    days = [f"1849-{month:02d}-01,26.7,{city}\n" for month in range(1, 13) for city in
            ("Abidjan,Côte D'Ivoire,5.63N,3.23W", "Aden,Yemen,12.05N,45.81E")]  # fmt: skip
    file = read(head + "".join(days))
    assert rows(file, "name", "lat", "lon", "country") == [("Abidjan", 5.63, -3.23, "CI"), ("Aden", 12.05, 45.81, "YE")]
    assert any("left out 22 lines with the same cities on other dates" in note for note in file.notes)


def test_which_regions_are_regions_of_the_world(read: Callable[..., CityFile]) -> None:
    own = read("name,lat,lon,country,region\nA,48,2,FR,Gaul\nB,52,13,DE,\n")
    assert own.cities["region"].tolist() == ["Gaul", "Western Europe"]
    states = "".join(f"c{k},48,2,{'DE' if k < 30 else 'FR'},state {k // 2}\n" for k in range(60))
    file = read("name,lat,lon,country,region\n" + states)
    assert set(file.cities["region"]) == {"Western Europe"} and "parts of countries" in file.notes[0]
    # a few numbers and letters are the user's own groups, such as clusters
    for column, value in (("", ""), (",country", ",FR")):
        text = f"name,lat,lon,region{column}\nA,48,2,1{value}\nB,52,13,R2{value}\n"
        assert read(text).cities["region"].tolist() == ["1", "R2"]
    codes = "name,lat,lon,region,country\nA,48,2,07,FR\nB,52,13,A1,DE\n"
    assert read(codes).cities["region"].tolist() == ["Western Europe"] * 2
    assert read(codes.replace("07", "FR-IDF")).cities["region"].tolist() == ["Western Europe"] * 2


def test_swapped_columns_are_noticed(read: Callable[..., CityFile]) -> None:
    cities = shipped_cities().query("abs(lon) < 90").head(50)
    assert not any("exchanged" in note for note in read(cities.to_csv(index=False)).notes)
    swapped = cities.rename(columns={"lat": "lon", "lon": "lat"}).to_csv(index=False)
    assert any("latitude and longitude are exchanged" in note for note in read(swapped).notes)
    with pytest.raises(UserError, match="are latitude and longitude exchanged"):
        read("name,lat,lon\nTokyo,139.7,35.7\nParis,2.3,48.8\n")


# --- one value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("48.85", 48.85), ("48,85", 48.85), ("+48.85°", 48.85), ("−33.9", -33.9), ("57.05N", 57.05),
        ("57.05 S", -57.05),
        ("48°51'24\"N", 48.856667), ("48° 51′ 24.0″ S", -48.856667), ("48 51 24 N", 48.856667), ("N48 51.4", 48.856667),
        ("48:51:24N", 48.856667), ("485124N", 48.856667), ("4851N", 48.85), ("-33°52'", -33.866667),
        ("48", 48.0), ("4.885e1", 48.85), ("48º51'N", 48.85), ("48°51'24''N", 48.856667),
        ("48N51", None), ("48E", None), ("48 51", None), ("48:51:24", None), ("48°61'N", None), ("-48S", None),
        ("1,234,567", None), ("1.234.567", None), ("48O", None), ("north", None), ("", None), ("N", None), ("½", None),
    ],
)  # fmt: skip
def test_degrees(text: str, value: float | None) -> None:
    assert degrees(text, "lat") == (None if value is None else pytest.approx(value, abs=1e-6))


@settings(max_examples=100)
@given(st.floats(-180, 180), st.sampled_from(["°'\"", ":: ", "   ", "°′″", "--m"]))
def test_sexagesimal_degrees_are_the_decimal_ones(value: float, marks: str) -> None:
    seconds = round(abs(value) * 3600)
    whole, minutes, rest = seconds // 3600, seconds // 60 % 60, seconds % 60
    text = f"{whole}{marks[0]}{minutes:02d}{marks[1]}{rest:02d}{marks[2].strip('m ')}{'W' if value < 0 else 'E'}"
    assert degrees(text, "lon") == pytest.approx(np.copysign(seconds / 3600, value), abs=1e-9)


@pytest.mark.parametrize(
    ("cell", "place"),
    [
        ("48.85,2.35", (48.85, 2.35)), ("(48.85, 2.35)", (48.85, 2.35)), ("POINT(2.35 48.85)", (48.85, 2.35)),
        ("SRID=4326;POINT (2.35 48.85)", (48.85, 2.35)), ("Point Z (2.35 48.85 35)", (48.85, 2.35)),
        ('{"type": "Point", "coordinates": [2.35, 48.85]}', (48.85, 2.35)),
        ("{'lat': 48.85, 'lng': 2.35}", (48.85, 2.35)),
        ('{"lon": 2.35, "lat": 48.85}', (48.85, 2.35)), ("48°51'N 2°21'E", (48.85, 2.35)),
        ("2.35E, 48.85N", (48.85, 2.35)),
        ("N48.85 E2.35", (48.85, 2.35)), ("48,85; 2,35", (48.85, 2.35)), ("48,85, 2,35", (48.85, 2.35)),
        ("48°51′N 2°21′E / 48.85°N 2.35°E / 48.85; 2.35", (48.85, 2.35)),
        ("[2.35, 48.85]", None), ("48.85 2.35", None), ("1,2,3", None), ("SRID=3857;POINT(2.35 48.85)", None),
        ("<http://www.wikidata.org/entity/Q405> Point(2.35 48.85)", None), ("Paris, France", None),
        ("POINT EMPTY", None),
    ],
)  # fmt: skip
def test_places_in_one_column(read: Callable[..., CityFile], cell: str, place: tuple[float, float] | None) -> None:
    text = f"name\tlocation\nA\t{cell}\n"
    if place is None:
        with pytest.raises(UserError, match="line 2, column 'location'"):
            read(text)
    else:
        assert rows(read(text), "lat", "lon") == [place]


@pytest.mark.parametrize(
    ("text", "people"),
    [
        ("1,234,567", 1234567), ("1.234.567", 1234567), ("1 234 567", 1234567), ("1'234'567", 1234567),
        ("12.345", 12345),
        ("1\u202f234\u202f567", 1234567), ("1\xa0234\xa0567", 1234567), ("~20000", 20000),
        ("ca. 20.000", 20000), ("20,000+", 20000), ("20,000 (2015)", 20000), ("20,000[1]", 20000),
        ("2.1 million", 2100000),
        ("2,1 Mio.", 2100000), ("350k", 350000), ("1,234.5", 1234), ("1.234,5", 1234), ("1e6", 1000000), ("12.4", 12),
        ("n/a", None), ("-99", None), ("many", None), ("1e13", None), ("nan", None), ("٣", None), ("1,2,3", None),
    ],
)  # fmt: skip
def test_populations(text: str, people: int | None) -> None:
    read, unread = populations([text, ""])
    assert (read.tolist(), unread) == (([0, 0], [0]) if people is None else ([people, 0], []))


def test_a_point_is_a_decimal_point_where_it_cannot_be_a_separator() -> None:
    assert populations(["1.234", "12.4"])[0].tolist() == [1, 12]
    assert populations(["1.234", "987", "12.400"])[0].tolist() == [1234, 987, 12400]


def test_what_is_not_read_of_a_population_is_told(read: Callable[..., CityFile]) -> None:
    file = read("name,lat,lon,population\nA,1,2,7\nB,1,2,n/a\nC,1,2,\nD,1,2,many\n")
    assert file.cities["population"].tolist() == [7, 0, 0, 0]
    assert any("2 of 4 not readable and taken as not known (0), first on line 3: 'n/a'" in note for note in file.notes)


@pytest.mark.parametrize("ids", ["0,0", "x,y", "-1,1", "2988507,12", ",1", "1,2", "99999999999999999999,0"])
def test_foreign_ids_stop_no_file(read: Callable[..., CityFile], ids: str) -> None:
    first, second = ids.split(",")
    file = read(f"id,name,lat,lon\n{first},A,1,2\n{second},B,3,4\n")
    assert "id" not in file.cities and "'id' (ids that are not 0 to n-1)" in file.notes[0]


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("US", "us|USA|U.S.A.|United States of America|Vereinigte Staaten|Estados Unidos"),
        ("GB", "UK|GBR|Great Britain|United Kingdom of Great Britain and Northern Ireland|England"),
        ("RU", "Russia|Russian Federation|RUS"), ("CI", "Côte d'Ivoire|Cote d’Ivoire|Ivory Coast|CIV"),
        ("KR", "South Korea|Korea, Republic of|Korea, South|Korea, Rep.|Republic of Korea"),
        ("KP", "North Korea|Korea, North|Korea, Democratic People's Republic of"),
        ("CD", "Congo (Kinshasa)|DR Congo|Congo, Dem. Rep.|Congo, The Democratic Republic of the"),
        ("CG", "Congo|Congo (Brazzaville)|Congo, Rep.|Republic of the Congo"), ("NE", "Niger"), ("NG", "Nigeria"),
        ("VA", "Holy See (Vatican City State)|Vatican"), ("XK", "Kosovo|XKX"), ("DM", "Dominica"), ("GN", "Guinea"),
        ("GQ", "Equatorial Guinea"), ("PG", "Papua New Guinea"), ("GW", "Guinea-Bissau"),
        ("SS", "South Sudan|S. Sudan"),
        ("DO", "Dominican Republic"), ("NA", "na|Namibia|NAM"), ("LC", "St. Lucia|Saint Lucia"),
        ("TR", "Türkiye|Turkey"),
        ("BA", "Bosnia & Herzegovina|Bosnia And Herzegovina"), ("MM", "Burma|Myanmar"),
        ("TW", "Taiwan, Province of China"),
        ("HK", "Hong Kong S.A.R."), ("CZ", "Czechia|Czech Republic"), ("SZ", "Eswatini|Swaziland"),
        ("JP", "日本|Japón"),
    ],
)  # fmt: skip
def test_countries(code: str, names: str) -> None:
    assert {name: alpha2(name) for name in names.split("|")} == dict.fromkeys(names.split("|"), code)


@pytest.mark.parametrize(
    "name", ["Elsewhere", "X", "", "-99", "Europe", "Atlantis", "Bayern", "ZZ", "12", "x" * 10_000]
)
def test_no_countries(name: str) -> None:
    assert alpha2(name) is None


def test_every_code_and_name_of_iso_3166_means_its_country() -> None:
    import pycountry

    for country in pycountry.countries:
        for key in ("alpha_2", "alpha_3", "name", "common_name", "official_name"):
            assert alpha2(getattr(country, key, country.alpha_2)) == country.alpha_2


def test_what_na_and_numbers_mean_depends_on_the_column(read: Callable[..., CityFile]) -> None:
    def countries(*values: str) -> list[str]:
        return read("name,lat,lon,country\n" + "".join(f"A,-22.5,17,{v}\n" for v in values)).cities["country"].tolist()

    assert countries("NA", "DE") == ["NA", "DE"] and countries("NA") == ["NA"]
    assert countries("NA", "Germany", "Namibia") == ["", "DE", "NA"] and countries("NA", "NAM") == ["", "NA"]
    assert countries("276", "4", "516.0") == ["DE", "AF", "NA"]
    assert countries("1", "2", "276") == ["", "", ""]  # keys of a database, not all of ISO 3166
    assert countries("DE", "", "Elsewhere") == ["DE", "", "Elsewhere"]


# --- what is refused


def zipped(**members: str | bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/").replace("_", "."), content)
    return data.getvalue()


GOOD = "name,lat,lon,country\nParis,48.85341,2.3488,FR\n"
POLYGON = {
    "type": "Feature",
    "properties": {"name": "A"},
    "geometry": {"type": "Polygon", "coordinates": [[["1", "2"]]]},
}
REFUSED: dict[str, tuple[str | bytes, str]] = {
    "a workbook": (zipped(xl__workbook_xml="x"), "is an Excel workbook; save the sheet as CSV"),
    "an old workbook": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 500, "is an Excel workbook; save the sheet"),
    "LibreOffice": (zipped(content_xml="x", mimetype="y"), "of LibreOffice; save the sheet as CSV"),
    "two tables": (zipped(a_csv=GOOD, b_csv=GOOD), "several tables in it ('a.csv', 'b.csv'); unpack it"),
    "no table": (zipped(a_pdf="x"), "no table in it ('a.pdf')"),
    "a shapefile": (zipped(a_shp="x", a_dbf="y"), "is a shapefile; export it as CSV or GeoJSON"),
    "a zip bomb": (zipped(a_csv=b"0" * 100_000_001), "(a.csv): is larger than 100,000,000 bytes when unpacked"),
    "a gzip bomb": (gzip.compress(b"0" * 100_000_001, 1), "is larger than 100,000,000 bytes when unpacked"),
    "gzip, cut short": (gzip.compress(GOOD.encode())[:-9], "not readable as gzip"),
    "zip, cut short": (zipped(a_csv=GOOD)[:60], "not readable as a zip archive"),
    "Parquet, cut short": (b"PAR1" + b"\0" * 40, "not readable as Parquet"),
    "a polygon": (json.dumps(POLYGON), "record 1: its geometry is a 'Polygon'; cities are points"),
    "JSON, cut short": ('[{"name": "A",\n "lat"', "line 2: not valid JSON"),
    "JSON without a list": ('{"a": 1}', "holds no list of cities"),
    "JSON of many objects": ("[" + "{}," * 4_000_000 + "{}]", "more than 4,000,000 objects and lists"),
    "JSON, deep": ("[" * 100_000, "nested too deeply"),
    "JSON without a place": (json.dumps([{"name": "A", "geometry": ""}] * 3), "no record has a place"),
    "half of a character": (json.dumps([{"name": "\ud800", "lat": "1", "lon": "2"}]), "half of a character"),
    "HTML": ("<html><body>404</body></html>", "is HTML or XML"),
    "metres": (H + "A,6250000,261000\n", "is a latitude outside -90 to 90 degrees; these look like metres of a map"),
    "the wrong letter": (H + "A,48N,2N\n", "line 2, column 'lon': '2N' is not a number"),
    "points and commas": ("name;lat;lon\nA;48,1;11,5\nB;48.1;11.5\n",
    "line 2, column 'lat': '48,1' has a decimal comma"),
    "bare decimal commas": (H + "Paris,48,85,2,35\n", "line 2: 5 fields where the header has 3"),
    "short in the middle": (H + "A,1,2\nB,3\nC,5,6\n", "line 3: 2 fields where the header has 3"),
    "twelve columns without a header": ("1,2,3,4,5,6,7,8,9,10,11,12\n" * 2, "no column for name"),
    "two pairs": ("name,from_lat,from_lon,to_lat,to_lon\nA,1,2,3,4\n", "no column for lat and lon"),
    "a box": ("name,lat_min,lon_min\nA,1,2\n", "no column for lat and lon"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused(read: Callable[..., CityFile], kind: str) -> None:
    content, message = REFUSED[kind]
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        read(content)
    assert "mine.csv" in str(caught.value)


def test_two_columns_of_one_name_in_parquet_are_refused(tmp_path: Path) -> None:
    columns = pa.schema([("name", pa.string()), ("lat", pa.float64()), ("lat", pa.float64()), ("lon", pa.float64())])
    table = pa.Table.from_arrays([pa.array(["A"]), *(pa.array([1.0]) for _ in range(3))], schema=columns)
    parquet.write_table(table, tmp_path / "mine.parquet")
    with pytest.raises(UserError, match="two columns are called 'lat'; give each a name of its own"):
        read_cities(tmp_path / "mine.parquet")


def test_what_stands_for_nothing_is_no_region(read: Callable[..., CityFile]) -> None:
    """pandas writes "nan" for a region that is missing."""
    file = read("name,lat,lon,region\nA,48.85,2.35,nan\nB,35.68,139.69,Mine\nC,35.6,139.6,None\n")
    assert list(file.cities["region"]) == ["Western Europe", "Mine", "Japan"]


# --- any table, in any dress

NAMES = {"name": ["name", "City", "city_ascii", "asciiname", "NAME", "Stadt", "itemLabel", "Place Name"],
         "lat": ["lat", "LATITUDE", "@lat", "latitude_deg", "Latitude (deg)", "geo_lat", "capital_lat", "Breitengrad"],
         "lon": ["lon", "LONGITUDE", "@lon", "longitude_deg", "Longitude (deg)", "geo_lon", "capital_lng",
         "Längengrad"],
         "country": ["country", "iso2", "ISO_A2", "CountryCode", "Country Name", "cou_name_en", "iso3"]}  # fmt: skip
COUNTRIES = {"DE": ["DE", "de", "DEU", "Germany"], "NA": ["NA", "na", "NAM", "Namibia"], "CI": ["CI", "CIV",
"Côte d'Ivoire"],
             "KR": ["KR", "KOR", "Korea, Republic of"], "GB": ["GB", "GBR", "United Kingdom"]}  # fmt: skip
JUNK = {"id": ["5000", "n1", "", "-7"], "population": ["1,234", "n/a", "~20000", "-99", "", "1 234"],
        "": ["0", "x"], "elevation": ["", "12.5"], "note": ["a;b", "a,b", 'a "b"', "a\tb", "-"]}  # fmt: skip
LETTERS = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=10)
WESTERN = st.sampled_from(["Zürich", "São Paulo", "Orléans", "Malmö", "A Coruña", "Århus", "Besançon", "Paris"])
FORMS: list[Callable[[float, str], str]] = [
    lambda x, _: f"{x:.5f}",
    lambda x, letters: f"{abs(x):.5f}{letters[x < 0]}",
    lambda x, letters: f"{abs(x):.5f}° {letters[x < 0]}",
    lambda x, _: f"{x:.5f}".replace(".", ","),
]


@st.composite
def dressed(draw: st.DrawFn) -> tuple[bytes, list[tuple[str, float, float, str]]]:
    """The bytes of a file, and the cities that it holds: name, lon, lat, country."""
    codec = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"]))
    # UTF-16 without a mark is known by its zeros, Windows-1252 by its letters.
    name = WESTERN if codec in ("cp1252", "utf-16-le", "utf-16-be") else LETTERS.filter(str.strip)
    place = st.tuples(st.integers(-18_000_000, 18_000_000), st.integers(-9_000_000, 9_000_000))
    cities = [
        (draw(name), lon / 1e5, lat / 1e5, draw(st.sampled_from(sorted(COUNTRIES))))
        for lon, lat in draw(st.lists(place, min_size=1, max_size=5))
    ]
    k = draw(st.integers(0, len(NAMES["lat"]) - 1))
    header = {role: draw(st.sampled_from(names)) for role, names in NAMES.items()}
    header |= {"lat": NAMES["lat"][k], "lon": NAMES["lon"][k]}
    form, spelling = draw(st.sampled_from(FORMS)), draw(st.integers(0, 2))
    values = {
        "name": [city[0] for city in cities],
        "lat": [form(city[2], "NS") for city in cities],
        "lon": [form(city[1], "EW") for city in cities],
        "country": [COUNTRIES[city[3]][spelling] for city in cities],
    }
    for junk in draw(st.lists(st.sampled_from(sorted(JUNK)), unique=True, max_size=3)):
        header[f"junk {junk}"] = junk
        values[f"junk {junk}"] = [draw(st.sampled_from(JUNK[junk])) for _ in cities]
    columns = draw(st.permutations(sorted(header)))
    table = [[header[c] for c in columns], *([values[c][k] for c in columns] for k in range(len(cities)))]
    return draw(packed(draw(spelled(table)).encode(codec))), cities


@st.composite
def spelled(draw: st.DrawFn, table: list[list[str]]) -> str:
    separator, out = draw(st.sampled_from([",", ";", "\t"])), io.StringIO(newline="")
    end = draw(st.sampled_from(["\n", "\r\n"]))
    if draw(st.booleans()):
        out.write(f"sep={separator}{end}")
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    surplus = draw(st.sampled_from([0, 0, 2]))
    writer = csv.writer(out, delimiter=separator, lineterminator=end, quoting=quoting)
    writer.writerows([*row, *[""] * surplus] for row in table)
    if draw(st.booleans()):
        out.write(end + separator * (len(table[0]) - 1) + end)
    return out.getvalue()


@st.composite
def packed(draw: st.DrawFn, data: bytes) -> bytes:
    pack = draw(st.sampled_from([bytes, gzip.compress, bz2.compress, lzma.compress, lambda d: zipped(a_csv=d)]))
    return pack(data)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(dressed())
def test_a_table_in_any_dress_is_the_same_table(tmp_path: Path, example: tuple[bytes, list]) -> None:
    data, cities = example
    path = tmp_path / "dressed.csv"
    path.write_bytes(data)
    file = with_regions(read_cities(path))
    assert rows(file, "name", "lon", "lat", "country") == cities, file.notes
    assert rows(file, "region") == [(region_of_country[city[3]],) for city in cities]


@pytest.mark.parametrize("kind", ["parquet", "geojson", "records", "lines", "columns", "split"])
def test_a_table_of_another_kind_is_the_same_table(tmp_path: Path, kind: str) -> None:
    cities = shipped_cities().head(30)
    path = tmp_path / "file"
    if kind == "parquet":
        cities.astype({"country": "category", "population": float}).to_parquet(path)
    elif kind == "geojson":
        features = [
            {"type": "Feature", "properties": {"name": c.name, "country": c.country, "population": c.population},
             "geometry": {"type": "Point", "coordinates": [c.lon, c.lat]}}
            for c in cities.itertuples(index=False)
        ]  # fmt: skip
        path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    else:
        options = {"lines": {"orient": "records", "lines": True}}.get(kind, {"orient": kind})
        path.write_text(cities.to_json(double_precision=10, **options))
    found = read_cities(path).cities
    pd.testing.assert_frame_equal(found[list(cities.columns)], cities, check_dtype=False)


def test_far_from_everything_is_other(read: Callable[..., CityFile]) -> None:
    file = read(H + "Point Nemo,-48.88,-123.39\nParis,48.85,2.35\n")
    assert file.cities["region"].tolist() == [OTHER, "Western Europe"]
    assert any("and 'Other' for 1 with none" in note for note in file.notes)


# --- what would be wrong in silence


def built(tmp_path: Path, text: str, name: str = "f.csv") -> CityFile:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return with_regions(read_cities(tmp_path / name))


@pytest.mark.parametrize(
    "text",
    [
        "city,lat,NS,lon,EW\nSydney,33.87,S,151.2,E\nParis,48.85,N,2.35,E\n",
        "city,lat,lat_dir,lon,lon_dir\nQuito,0.2,S,78.5,W\n",
        "name,lat_deg,lat_min,lon_deg,lon_min\nParis,48,51.2,2,20.9\n",
    ],
)
def test_a_part_of_a_place_in_another_column_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match="with the degrees"):
        built(tmp_path, text)


def test_a_column_of_signed_degrees_may_stand_beside_letters_and_boxes(tmp_path: Path) -> None:
    text = "city,lat,NS,lon,EW,lat_min,lat_max\nSydney,-33.87,S,151.2,E,-34,-33\n"
    assert built(tmp_path, text).cities["lat"].tolist() == [-33.87]


@pytest.mark.parametrize(
    ("written", "people"),
    [
        (["2.138.551", "268.132", "12.5 Mio", "0.0"], [2_138_551, 268_132, 12_500_000, 0]),
        (["2,139 Mio", "12,345"], [2_139_000, 12_345]),
        (["1.5", "2.25"], [2, 2]),
    ],
)
def test_points_and_commas_in_populations(tmp_path: Path, written: list[str], people: list[int]) -> None:
    rows = "".join(f'c{k};48.{k};2.{k};"{text}"\n' for k, text in enumerate(written))
    assert built(tmp_path, f"name;lat;lon;population\n{rows}").cities["population"].tolist() == people


def test_the_latest_count_is_taken_and_no_projection(tmp_path: Path) -> None:
    text = "city,year,lat,lon,population\nParis,1950,48.85,2.35,6\nParis,2020,48.85,2.35,11\nRome,1990,41.9,12.5,3\n"
    file = built(tmp_path, text)
    assert file.cities["population"].tolist() == [11, 3] and any("latest" in note for note in file.notes)
    text = "city,lat,lon,pop1990,pop2025,pop2050\nParis,48.85,2.35,9,11,13\n"
    assert built(tmp_path, text).cities["population"].tolist() == [11]


def test_names_have_no_quotes_and_are_no_kinds_of_places(tmp_path: Path) -> None:
    text = 'id, "name", "lat", "lon", "country"\n1, "Paris", 48.85, 2.35, "France"\n'
    cities = built(tmp_path, text).cities
    assert (cities["name"].tolist(), cities["country"].tolist()) == (["Paris"], ["FR"])
    text = "@id,@lat,@lon,place,name:en\n7,48.85,2.35,city,Paris\n"
    assert built(tmp_path, text).cities["name"].tolist() == ["Paris"]


def test_odd_places_are_told(tmp_path: Path) -> None:
    rows = "".join(f"c{k},4{k},{k},{k}5,7{k}\n" for k in range(6))
    assert any("decimal commas" in note for note in built(tmp_path, f"name,lat,lon,country,population\n{rows}").notes)
    rows = "".join(f"c{k},0.8{k},0.1{k}\n" for k in range(6))
    assert any("radians" in note for note in built(tmp_path, f"name,lat,lon\n{rows}").notes)


def test_a_point_that_is_null_is_left_out_or_read_from_its_properties(tmp_path: Path) -> None:
    def feature(name: str, geometry: object, **more: object) -> dict[str, object]:
        return {"type": "Feature", "properties": {"name": name, **more}, "geometry": geometry}

    paris = feature("Paris", {"type": "Point", "coordinates": [2.35, 48.85]})
    features = [feature("Nowhere", None), paris, feature("Rome", None, lat=41.9, lon=12.5)]
    text = json.dumps({"type": "FeatureCollection", "features": features})
    file = built(tmp_path, text, "f.geojson")
    assert file.cities[["name", "lat", "lon"]].to_numpy().tolist() == [["Paris", 48.85, 2.35], ["Rome", 41.9, 12.5]]
    assert any("left out 1 without a place" in note for note in file.notes)


def test_an_archive_of_two_tables_says_so(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        for name in ("a.csv", "b.csv"):
            archive.writestr(name, "name,lat,lon\nParis,48.85,2.35\n")
    with pytest.raises(UserError, match="several tables") as raised:
        read_cities(tmp_path / "two.zip")
    assert "download" not in str(raised.value)


def test_a_city_that_stands_twice_is_told(read: Callable[..., CityFile]) -> None:
    file = read("name,lat,lon,country\nParis,48.85,2.35,FR\nParis,48.85,2.35,FR\nParis,33.66,-95.55,US\n")
    assert len(file.cities) == 3
    assert any("1 line with the name and the place of an earlier one" in note for note in file.notes)


@pytest.mark.parametrize("n", [3, 4, 9])
def test_a_few_sound_cities_are_not_taken_for_exchanged(n: int, tmp_path: Path) -> None:
    cities = shipped_cities().query("abs(lon) < 90").head(n)
    cities.to_csv(tmp_path / "few.csv", index=False)
    assert not any("exchanged" in note for note in with_regions(read_cities(tmp_path / "few.csv")).notes)
