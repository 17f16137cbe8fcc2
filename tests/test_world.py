"""The world: ids, the user's tables, virtual regions, and what is written and read back."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from atlantis.errors import UserError
from atlantis.settings import VirtualRegionConfig, WorldConfig
from atlantis.sphere import haversine_km
from atlantis.world import COLUMNS, OCEANS, VirtualRegion, World
from atlantis.world.cities import read_cities, shipped_cities
from atlantis.world.regions import OTHER, REGION_COLOURS, REGIONS, colours, region_of_country
from tests import maps

# ISO 3166-1 alpha-2 by first letter, and XK
SECOND_LETTERS = {
    "A": "DEFGILMOQRSTUWXZ",
    "B": "ABDEFGHIJLMNOQRSTVWYZ",
    "C": "ACDFGHIKLMNORUVWXYZ",
    "D": "EJKMOZ",
    "E": "CEGHRST",
    "F": "IJKMOR",
    "G": "ABDEFGHILMNPQRSTUWY",
    "H": "KMNRTU",
    "I": "DELMNOQRST",
    "J": "EMOP",
    "K": "EGHIMNPRWYZ",
    "L": "ABCIKRSTUVY",
    "M": "ACDEFGHKLMNOPQRSTUVWXYZ",
    "N": "ACEFGILOPRUZ",
    "O": "M",
    "P": "AEFGHKLMNRSTWY",
    "Q": "A",
    "R": "EOSUW",
    "S": "ABCDEGHIJKLMNORSTVXYZ",
    "T": "CDFGHJKLMNORTVWZ",
    "U": "AGMSYZ",
    "V": "ACEGINU",
    "W": "FS",
    "Y": "ET",
    "Z": "AMW",
    "X": "K",
}
ISO_3166 = [first + second for first, seconds in SECOND_LETTERS.items() for second in seconds]


@pytest.fixture(scope="module")
def world() -> World:
    return World.build()


@pytest.fixture
def csv_file(tmp_path: Path):
    def write(content: str | bytes, name: str = "mine.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def refused(path: Path, *parts: str) -> str:
    """The message with which a file of cities is refused; it must contain all parts."""
    with pytest.raises(UserError) as caught:
        read_cities(path)
    message = str(caught.value)
    for part in (str(path), *parts):
        assert part in message, message
    return message


# --- the default world


def test_default_world_is_that_of_the_study(world: World) -> None:
    assert (len(world), world.n_real, world.n_virtual, world.first_virtual) == (5175, 5075, 100, 5075)
    cities = world.cities
    assert tuple(cities.columns) == COLUMNS
    assert cities["id"].tolist() == list(range(5175))
    assert cities["is_virtual"].tolist() == [False] * 5075 + [True] * 100
    assert cities["name"].iloc[[5075, 5174]].tolist() == ["Atlantis_001", "Atlantis_100"]
    assert set(cities["country"][5075:]) == {"XX0"} and set(cities["region"][5075:]) == {"Atlantis"}
    np.testing.assert_array_equal(world.lon, cities["lon"])
    np.testing.assert_array_equal(world.ids_of("Atlantis"), np.arange(5075, 5175))


def test_default_world_never_changes(world: World) -> None:
    # every dataset and checkpoint rests on these ids: a change here makes all of them void
    assert world.digest == "bf162fa66f72"


def test_ids_are_a_shuffle_of_the_source(world: World) -> None:
    source, real = shipped_cities(), world.cities.iloc[: world.n_real]
    key = ["name", "lon", "lat", "country", "population"]
    rows = [sorted(zip(*(table[name] for name in key), strict=True)) for table in (source, real)]
    assert rows[0] == rows[1]
    rank, shuffled = (np.argsort(np.argsort(table["population"].to_numpy())) for table in (source, real))
    assert abs(np.corrcoef(np.arange(len(rank)), rank)[0, 1]) > 0.99
    for column in (shuffled, real["lon"], real["lat"]):
        assert abs(np.corrcoef(np.arange(len(column)), column)[0, 1]) < 0.05


def test_seed_of_the_world_moves_real_cities_and_no_virtual_ones(world: World) -> None:
    other = World.build(seed=43)
    assert other != world and not other.extends(world)
    assert np.mean(other.lon[:5075] != world.lon[:5075]) > 0.99
    np.testing.assert_array_equal(other.lon[5075:], world.lon[5075:])


def test_same_seed_same_bytes_in_another_process(world: World, tmp_path: Path) -> None:
    code = "import sys; from atlantis.world import World; sys.stdout.buffer.write(World.build().csv_bytes)"
    source = str(Path(__file__).parents[1] / "src")
    for variables in ({"PYTHONHASHSEED": "1", "LC_ALL": "C"}, {"PYTHONHASHSEED": "2", "LC_ALL": "tr_TR.UTF-8"}):
        environment = os.environ | {"PYTHONPATH": source} | variables
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, check=True
        )
        assert done.stdout == world.csv_bytes


def test_namibia_is_a_country(world: World) -> None:
    windhoek = world.cities.query("name == 'Windhoek'")
    assert windhoek["country"].tolist() == ["NA"] and windhoek["region"].tolist() == ["Africa"]
    assert not world.cities.isna().any().any()


def test_a_world_cannot_be_changed(world: World) -> None:
    table = world.cities
    table.loc[0, "name"] = "Nowhere"
    assert world.cities["name"].iloc[0] != "Nowhere"
    with pytest.raises(ValueError, match="read-only"):
        world.lon[0] = 0.0
    with pytest.raises(AttributeError):
        world.seed = 1  # pyright: ignore[reportAttributeAccessIssue]


def test_distances_are_whole_km(world: World) -> None:
    i, j = np.array([0, 5, 5174]), np.array([5100, 5, 3])
    found = world.distance_km(i, j)
    assert found.dtype == np.int32 and found[1] == 0
    exact = haversine_km(world.lon[i], world.lat[i], world.lon[j], world.lat[j])
    assert np.abs(found - exact).max() <= 0.5
    assert world.distance_km(np.arange(3)[:, None], np.arange(4)).shape == (3, 4)
    for wrong in (-1, 5175):
        with pytest.raises(IndexError, match="0 to 5174"):
            world.distance_km(0, [wrong])


def test_extends_and_equality(world: World) -> None:
    bare = World.build(regions=[])
    more = World.build(regions=[OCEANS["atlantic"], OCEANS["indian"]])
    assert world.extends(bare) and more.extends(world) and more.extends(more)
    assert not bare.extends(world) and not world.extends(World.build(regions=[OCEANS["indian"]]))
    assert world == World.build() and hash(world) == hash(World.build()) and world != bare
    assert bare.n_virtual == 0 and bare.first_virtual == len(bare) == 5075


def test_regions_are_listed_in_order(world: World) -> None:
    assert world.regions == (*[name for name in REGIONS if name != "Antarctica"], "Atlantis")
    ids = np.concatenate([world.ids_of(name) for name in world.regions])
    assert sorted(ids) == list(range(len(world)))
    with pytest.raises(UserError, match=r"no region 'Mu' in this world; it has: Africa, .*Atlantis"):
        world.ids_of("Mu")


# --- regions


def test_every_country_has_a_region() -> None:
    assert sorted(region_of_country) == sorted(ISO_3166) and len(ISO_3166) == 250
    expected = {"RU": "Eastern Europe", "TR": "Middle East", "MN": "Central Asia", "AF": "Central Asia"}
    expected |= dict.fromkeys(["PK", "BD", "LK", "NP"], "India") | dict.fromkeys(["TW", "HK", "MO"], "China")
    expected |= {"MX": "North America", "CU": "North America", "XK": "Eastern Europe", "AQ": "Antarctica"}
    assert {code: region_of_country[code] for code in expected} == expected


def test_regions_have_different_colours() -> None:
    assert set(REGION_COLOURS) == {*REGIONS, OTHER} and len(set(REGION_COLOURS.values())) == 15
    found = colours([*REGIONS, "Atlantis", "Mu"])
    assert len(set(found.values())) == 16
    assert all(re.fullmatch("#[0-9A-F]{6}", colour) for colour in found.values())


# --- the user's own table


@pytest.mark.parametrize(
    "text",
    [
        "name,lat,lon,country,population\nKöln,50.9375,6.9603,DE,1000000\nWindhoek,-22.55941,17.08323,NA,\n",
        "Longitude;LATITUDE;City;ISO2;Pop\n6.9603;50.9375;Köln;DE;1e6\n17.08323;-22.55941;Windhoek;NA;0\n",
        "asciiname\tlng\tlat\tcountrycode\tpopulation\nKöln\t6.9603\t50.9375\tDE\t1000000.0\nWindhoek\t17.08323\t"
        "-22.55941\tNA\t\n",
        'Geoname ID;Name;ASCII Name;Country Code;Country name EN;Population;Coordinates\n1;Köln;Koeln;DE;"a;b";1000000'
        ";50.9375, 6.9603\n2;Windhoek;W;NA;;0;-22.55941,17.08323\n",
        '"city","city_ascii","lat","lng","country","iso2","population"\r\n"Köln","Koln","50.9375","6.9603","Germany",'
        '"DE","1000000"\r\n"Windhoek","Windhoek","-22.55941","17.08323","Namibia","NA","0"\r\n',
    ],
    ids=["comma", "semicolon", "tab", "coordinates", "quoted"],
)
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"], ids=["plain", "bom"])
def test_usual_files_are_understood(csv_file, text: str, bom: bytes) -> None:
    found = read_cities(csv_file(bom + text.encode())).cities
    assert found.to_dict("list") == {
        "name": ["Köln", "Windhoek"],
        "lon": [6.9603, 17.08323],
        "lat": [50.9375, -22.55941],
        "country": ["DE", "NA"],
        "population": [1_000_000, 0],
    }


def test_only_a_name_and_a_place_are_needed(csv_file) -> None:
    world = World.build(csv_file("name,lat,lon\nA,1,2\n\nB,3,4\n"), regions=[])
    assert set(world.cities["country"]) == {""}
    # the nearest shipped city: Yenagoa, 330 km from B; none within 500 km of A
    assert world.cities.set_index("name")["region"].to_dict() == {"A": OTHER, "B": "Africa"}
    assert world.cities["population"].tolist() == [0, 0]
    assert sorted(world.cities["name"]) == ["A", "B"]


def test_own_ids_are_kept_and_own_regions_win(csv_file) -> None:
    text = "id,name,lat,lon,country,region\n2,C,0,0,de,\n0,A,0,1,FR,Gaul\n1,B,0,2,ZZ,\n"
    world = World.build(csv_file(text), regions=[])
    assert world.cities["name"].tolist() == ["A", "B", "C"]
    assert world.cities["region"].tolist() == ["Gaul", OTHER, "Western Europe"]
    assert world.regions == ("Western Europe", "Gaul", OTHER)


NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12).filter(str.strip)
CITIES = st.lists(st.tuples(NAMES, st.floats(-180, 180), st.floats(-90, 90)), min_size=1, max_size=6)


@settings(max_examples=40)
@given(CITIES)
@example([("NA", 0.0, 0.0), ("null", -0.0, -0.0), ('a";,\u2028', 180.0, -90.0), (" x ", 1e-7, -1e-7)])
def test_names_stay_as_they_are(tmp_path_factory: pytest.TempPathFactory, cities: list) -> None:
    path = tmp_path_factory.mktemp("own") / "mine.csv"
    pd.DataFrame(cities, columns=["name", "lon", "lat"]).assign(id=range(len(cities))).to_csv(path, index=False)
    world = World.build(path, regions=[])
    assert world.cities["name"].tolist() == [name for name, _, _ in cities]
    assert all(k in world.find(f" {name}") for k, (name, _, _) in enumerate(cities))
    np.testing.assert_allclose(world.lon, [lon for _, lon, _ in cities], atol=0.51e-5)
    again = path.with_name("again.csv")
    again.write_bytes(world.csv_bytes)
    assert World.build(again, regions=[]) == world
    assert b"-0.00000" not in world.csv_bytes
    assert world.csv_bytes == as_python_writes_it(world)


def as_python_writes_it(world: World) -> bytes:
    columns = [world.cities[name].tolist() for name in COLUMNS]
    for k in (COLUMNS.index("lon"), COLUMNS.index("lat")):
        columns[k] = [f"{degrees:.5f}" for degrees in columns[k]]
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerows([COLUMNS, *zip(*columns, strict=True)])
    return out.getvalue().encode()


HEAD = "name,lat,lon\n"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (HEAD + "A,1,2\nB,90.5,2\n", ["line 3, column 'lat': '90.5' is a latitude outside -90 to 90"]),
        (HEAD + "A,1,-181\nB,1,400\n", ["line 2, column 'lon': '-181' is a longitude outside", "and so 1 more line"]),
        (HEAD + "A,1e999,2\n", ["line 2, column 'lat'", "outside"]),
        (HEAD + "A,nan,2\n", ["line 2, column 'lat': 'nan' is not a number"]),
        (HEAD + "A,1,\n", ["line 2, column 'lon': '' is empty"]),
        (HEAD + "A,1,north\n", ["line 2, column 'lon': 'north' is not a number", "written like 48.85341"]),
        (HEAD + '\n"A\nB",1,2\n', ["line 3, column 'name'", "control character"]),
        (HEAD + "A,1_0,2\n", ["line 2, column 'lat': '1_0' is not a number"]),
        (HEAD + "\nA,1,2\n\n ,1,2\n", ["line 5, column 'name'", "is empty"]),
        (HEAD + "A,1,2\nB,1\n", ["line 3: 2 fields where the header has 3", "double quotes"]),
        (HEAD + 'A,1,2\n"B,1,2\nC,1,2\n', ["line 3: not readable as CSV"]),
        (HEAD, ["a header and no cities"]),
        ("", ["the file is empty"]),
        ("\n\n", ["the file is empty"]),
        ("name,Lat,LAT,lon\nA,1,1,2\n", ["line 1: columns 'Lat' and 'LAT' have the same name"]),
        (
            "hamlet,lat,x\nA,1,2\n",
            ["no column for name and lon. Found: 'hamlet', 'lat', 'x'", "city_ascii", "longitude"],
        ),
        ("name;x\nA;2\n", ["no column for lat and lon", "one column 'Coordinates'"]),
        ("name;Coordinates\nA;1 2\n", ["line 2, column 'Coordinates': '1 2' is not of the form"]),
        ("name;Coordinates\nA;1,2\nB;99,2\n", ["line 3, column 'Coordinates': '99,2' is a latitude outside"]),
        ("name;Coordinates\nA;\n", ["line 2, column 'Coordinates': '' is empty"]),
        ("name,lat,lon,is_virtual\nA,1,2,False\nB,1,2,True\n", ["line 3, column 'is_virtual'", "built world"]),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(csv_file, text: str, parts: list[str]) -> None:
    refused(csv_file(text), *parts)


def test_not_utf8_is_refused_with_its_line(csv_file) -> None:
    for other in ("Łódź,51,19", "Москва,55,37", "Zürich,47,8"):
        codec = {"Ł": "cp1250", "М": "cp1251", "Z": "mac_roman"}[other[0]]
        refused(csv_file(f"name,lat,lon\nA,1,2\n{other}\n".encode(codec)), "line 3: not UTF-8 (byte 0x")
    refused(csv_file("name,lat,lon\nKöln,50,7\n".encode() + b"M\xfcnchen,48,11\n"), "line 3: not UTF-8 (byte 0xfc)")
    refused(csv_file(b"\xef\xbb\xbfname,lat,lon\r\nA,1,2\r\n\xff"), "line 3: not UTF-8")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    refused(tmp_path / "none.csv", "No such file")
    refused(tmp_path, "is a folder")


def test_a_hundred_thousand_cities(tmp_path: Path) -> None:
    n = 100_000
    table = {"name": [f"c{k}" for k in range(n)], "lat": np.linspace(-60, 70, n), "lon": np.linspace(-180, 179, n)}
    path = tmp_path / "many.csv"
    pd.DataFrame(table).to_csv(path, index=False)
    world = World.build(path)
    assert (world.n_real, world.first_virtual) == (n, n) and world.csv_bytes.count(b"\n") == n + 101
    assert np.corrcoef(np.arange(n), world.lat[:n])[0, 1] < 0.02


# --- virtual regions


def test_gaussian_is_isotropic_on_the_sphere() -> None:
    # far north, where a degree of longitude is short: the cloud is round in km
    region = VirtualRegion(lon=100.0, lat=75.0, count=20_000, spread_km=300.0)
    lon, lat = region.sample()
    km = haversine_km(100.0, 75.0, lon, lat)
    assert np.mean(km) == pytest.approx(300 * np.sqrt(np.pi / 2), rel=0.01)  # the mean of a Rayleigh distribution
    assert np.mean(km**2) == pytest.approx(2 * 300**2, rel=0.02)
    from pyproj import Geod

    bearing = np.radians(Geod(a=1.0, b=1.0).inv(np.full_like(lon, 100.0), np.full_like(lat, 75.0), lon, lat)[0])
    assert np.abs([np.cos(bearing).mean(), np.sin(bearing).mean(), np.cos(2 * bearing).mean()]).max() < 0.02


def test_flat_is_gaussian_in_degrees() -> None:
    lon, lat = VirtualRegion(kind="flat", lat=60.0, count=20_000).sample()
    assert [lon.mean(), lat.mean()] == pytest.approx([-35.0, 60.0], abs=0.1)
    assert [lon.std(), lat.std()] == pytest.approx([3.0, 3.0], rel=0.02)
    assert abs(np.corrcoef(lon, lat)[0, 1]) < 0.02


def test_scattered_is_uniform_over_the_sphere() -> None:
    lon, lat = VirtualRegion(kind="scattered", count=20_000).sample()
    z = np.sin(np.radians(lat))
    assert np.histogram(z, 10, (-1, 1))[0] == pytest.approx(2000, rel=0.1)
    assert np.histogram(lon, 10, (-180, 180))[0] == pytest.approx(2000, rel=0.1)


@settings(max_examples=60)
@given(
    st.builds(
        VirtualRegion,
        kind=st.sampled_from(["gaussian", "flat", "scattered"]),
        lon=st.floats(-180, 180),
        lat=st.floats(-90, 90),
        spread_km=st.floats(0.001, 50_000),
        spread_degrees=st.floats(0.001, 1000),
        count=st.integers(1, 50),
        seed=st.integers(),
    )
)
def test_positions_are_always_on_the_earth(region: VirtualRegion) -> None:
    lon, lat = region.sample()
    assert lon.shape == lat.shape == (region.count,)
    assert (np.abs(lon) <= 180).all() and (np.abs(lat) <= 90).all()
    np.testing.assert_array_equal(lon, np.round(lon, 5))


def test_a_flat_region_goes_over_the_pole() -> None:
    lon, lat = VirtualRegion(kind="flat", lon=0.0, lat=89.0, spread_degrees=3.0, count=500).sample()
    over = np.abs(lon) > 90
    assert 0.2 < over.mean() < 0.5 and haversine_km(0, 89, lon, lat).max() < 2000


def test_streams_of_regions() -> None:
    base = VirtualRegion(count=10)
    np.testing.assert_array_equal(VirtualRegion(count=30).sample()[0][:10], base.sample()[0])
    for other in (VirtualRegion(count=10, seed=43), VirtualRegion(count=10, code="XX1")):
        assert not np.isclose(other.sample()[0], base.sample()[0]).any()


def test_first_city_of_atlantis_is_known() -> None:
    lon, lat = VirtualRegion().sample()
    assert (lon[0], lat[0]) == (-29.43456, 35.94638)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": 0}, "count must be at least 1, not 0"),
        ({"count": 1.5}, "count must be a whole number, not 1.5"),
        ({"count": True}, "count must be a whole number, not True"),
        ({"seed": "42"}, "seed must be a whole number, not '42'"),
        ({"spread_km": 0}, "spread_km must be more than 0 km, not 0.0"),
        ({"spread_km": float("nan")}, "spread_km must be more than 0 km, not nan"),
        ({"kind": "flat", "spread_degrees": -1}, "spread_degrees must be more than 0 degrees, not -1.0"),
        ({"lat": 90.1}, "lat must lie between -90 and 90 degrees, not 90.1"),
        ({"lon": -200}, "lon must lie between -180 and 180 degrees, not -200.0"),
        ({"lon": float("nan")}, "lon must lie between"),
        ({"kind": "square"}, "kind must be one of gaussian, flat, scattered, not 'square'"),
        ({"name": ""}, "name must be plain text"),
        ({"code": "X\n"}, "code must be plain text"),
    ],
)
def test_impossible_regions_are_refused(change: dict, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        VirtualRegion(**change)
    assert str(caught.value).startswith("virtual region ")


def test_several_regions_follow_each_other() -> None:
    regions = [OCEANS["indian"], VirtualRegion("Dust", "XX9", "scattered", count=7), OCEANS["atlantic"]]
    world = World.build(regions=regions)
    assert world.virtual_regions == tuple(regions) and world.regions[-3:] == ("Lemuria", "Dust", "Atlantis")
    assert [(world.ids_of(r.name)[[0, -1]] - world.first_virtual).tolist() for r in regions] == [
        [0, 99],
        [100, 106],
        [107, 206],
    ]
    assert World.build(regions=list(OCEANS.values())).n_virtual == 500


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        ([VirtualRegion(), VirtualRegion(code="XX1")], "another region has this name"),
        ([VirtualRegion(), VirtualRegion(name="Mu")], "code 'XX0' belongs to another region"),
        ([VirtualRegion(name="africa")], "another region has this name"),
        ([VirtualRegion(name=OTHER)], "another region has this name"),
        ([VirtualRegion(code="US")], "code 'US' belongs to another region or country"),
        ([VirtualRegion(name="Town")], "there is a city 'Town_002' already; rename the region"),
        ([VirtualRegion(name="Gaul")], "another region has this name"),
    ],
)
def test_regions_that_collide_are_refused(csv_file, regions: list[VirtualRegion], message: str) -> None:
    path = csv_file("name,lat,lon,region\nTown_002,1,2,Gaul\n")
    with pytest.raises(UserError, match=message):
        World.build(path, regions=regions)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(UserError, match="world seed must be a whole number of at least 0, not -1"):
        World.build(seed=-1)


# --- on disk


def test_saved_and_loaded_worlds_are_the_same(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(maps.FOLDER)  # both are drawn
    world.save(tmp_path / "one")
    World.build().save(tmp_path / "two")
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["README.md", "cities.csv", "manifest.json", "map.png", "world.json"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    loaded = World.load(tmp_path / "one")
    pd.testing.assert_frame_equal(loaded.cities, world.cities)
    assert loaded == world and loaded.regions == world.regions and loaded.virtual_regions == world.virtual_regions
    assert repr(loaded) == repr(world) and "5,075 real cities" in repr(world)
    with pytest.raises(UserError, match="already holds a world"):
        world.save(tmp_path / "one")
    world.save(tmp_path / "one", overwrite=True)


def test_a_loaded_table_is_the_saved_one_to_the_last_bit(csv_file, tmp_path: Path) -> None:
    """Also when other line ends were put into it since, which has it read in another way."""
    places = 'NA,0.1,-179.99999,NA\nnull,12.34567,7.00001,\n"a"";,b",-45.6,1e-5,nan\n x ,90,-180,"1,2"\n'
    world = World.build(csv_file("name,lat,lon,country\n" + places))
    world.save(tmp_path / "odd")
    pd.testing.assert_frame_equal(World.load(tmp_path / "odd").cities, world.cities, check_exact=True)
    table = tmp_path / "odd" / "cities.csv"
    table.write_bytes(table.read_bytes().replace(b"\n", b"\r\n"))
    pd.testing.assert_frame_equal(World.load(tmp_path / "odd").cities, world.cities, check_exact=True)


def test_the_card_says_what_is_inside(world: World, csv_file, tmp_path: Path) -> None:
    world.save(tmp_path / "world")
    card = (tmp_path / "world" / "README.md").read_text(encoding="utf-8")
    for part in (
        "GeoNames",
        "CC BY 4.0",
        "| India | 664 |",
        "| Atlantis | 100 | 5075 to 5174 |",
        world.digest,
        "500 km",
    ):
        assert part in card
    own = World.build(csv_file("id,name,lat,lon,region\n0,A,1,2,a|b\n", "my cities.csv"), regions=[])
    own.save(tmp_path / "own")
    card = (tmp_path / "own" / "README.md").read_text(encoding="utf-8")
    assert "GeoNames" not in card and "my cities.csv" in card and "a\\|b" in card and "those of the file" in card
    assert str(tmp_path) not in card
    assert World.load(tmp_path / "own") == own


def test_the_card_holds_a_config_that_builds_the_same_world(world: World, tmp_path: Path) -> None:
    import yaml

    world.save(tmp_path / "world")
    card = (tmp_path / "world" / "README.md").read_text(encoding="utf-8")
    section = yaml.safe_load(card.split("```yaml\n")[1].split("```")[0])["world"]
    regions = [VirtualRegion(**spec) for spec in section["regions"]]
    assert World.build(section["cities"], regions, section["seed"]) == world


def test_a_config_builds_its_world(world: World) -> None:
    assert World.from_config(WorldConfig()) == world
    section = WorldConfig(seed=7, regions=[VirtualRegionConfig(kind="scattered", count=3)])
    assert World.from_config(section) == World.build(regions=[VirtualRegion(kind="scattered", count=3)], seed=7)


@pytest.fixture(scope="module")
def small_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("once")
    (folder / "mine.csv").write_text("name,lat,lon\nA,1,2\nB,3,4\n", encoding="utf-8")
    World.build(folder / "mine.csv", regions=[VirtualRegion(count=2)]).save(folder / "small")
    return folder / "small"


@pytest.fixture
def small(small_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_once, tmp_path / "small"))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("cities.csv", "2.00000,1.00000", "2.00000,1.50000", r"cities.csv: changed since it was saved \(digest"),
        ("cities.csv", "\n1,", "\n7,", "cities.csv, line 3: id 7 where 1 should be"),
        ("cities.csv", "\n1,", "\nx,", "column 'id': .*'x'"),
        ("cities.csv", "1.00000", "91.00000", "column 'lat': '91.00000' is outside -90 to 90 degrees"),
        ("cities.csv", ",False\n1", ",True\n1", "line 3: a real city after a virtual one"),
        ("cities.csv", "False", "True", "its virtual cities are not those of the regions"),
        ("cities.csv", "False", "no", "column 'is_virtual': 'no' is not True or False"),
        ("cities.csv", "id,name,lon", "id,name,x", "line 1: the columns of a world are id,name"),
        ("world.json", '"n": 4', '"n": 5', "4 cities where world.json has 5"),
        ("world.json", '"format": 1', '"format": 9', "not the record of a world of format 1"),
        ("world.json", '"seed": 42,\n "source"', '"source"', "'seed' is missing"),
        ("world.json", '"count": 2', '"count": 0', "'regions' does not describe virtual regions"),
        ("world.json", "{", "[", "not valid JSON"),
    ],
)
def test_a_changed_folder_is_refused(small: Path, file: str, old: str, new: str, message: str) -> None:
    edit(small / file, old, new)
    with pytest.raises(UserError, match=message):
        World.load(small)


def test_a_folder_without_a_world(tmp_path: Path, small: Path) -> None:
    with pytest.raises(UserError, match="no saved world there"):
        World.load(tmp_path / "none")
    (small / "cities.csv").unlink()
    with pytest.raises(UserError, match=r"cities.csv: cannot be read"):
        World.load(small)


def test_the_record_names_no_machine(small_once: Path) -> None:
    record = json.loads((small_once / "world.json").read_text(encoding="utf-8"))
    assert record["source"] == "mine.csv" and record["n_real"] == 2 and record["regions"][0]["name"] == "Atlantis"
    for file in small_once.iterdir():
        assert str(small_once.parent).encode() not in file.read_bytes()


def test_ids_of_another_database_are_not_ours(csv_file) -> None:
    """Ids that are not 0..n-1 cannot name cities here: the shuffle gives them, as for a file without ids."""
    foreign = World.build(csv_file("id,name,lat,lon\n70,A,1,2\n81,B,3,4\n92,C,5,6\n"), regions=())
    without = World.build(csv_file("name,lat,lon\nA,1,2\nB,3,4\nC,5,6\n"), regions=())
    assert foreign == without and not foreign.given_ids


def test_the_digest_of_real_cities_is_of_both_coordinates() -> None:
    lon, lat = np.linspace(-150, 150, 12), np.linspace(-60, 60, 12)
    digests = {World.of_places(*place).real_cities_digest for place in ((lon, lat), (lon, lat + 1), (lon + 1, lat))}
    assert len(digests) == 3
