"""Which region of the world a country belongs to, for colours and for metrics per region.

Every ISO 3166-1 code has its region here, and so has XK (Kosovo, which GeoNames uses). Where the fourteen
regions leave a choice: Russia, the Baltic states and the former Yugoslavia are Eastern Europe; Turkey, Cyprus,
Iran and the Caucasus are Middle East; the Indian subcontinent with its islands is India; Taiwan, Hong Kong and
Macau are China; Mongolia and Afghanistan are Central Asia; Greenland, Central America and the Caribbean are North
America; the sub-Antarctic islands are Antarctica.
"""

from __future__ import annotations

from collections.abc import Sequence

OTHER = "Other"

_COUNTRIES = {
    "Africa": "AO BF BI BJ BW CD CF CG CI CM CV DJ DZ EG EH ER ET GA GH GM GN GQ GW IO KE KM LR LS LY MA MG ML MR MU "
    "MW MZ NA NE NG RE RW SC SD SH SL SN SO SS ST SZ TD TG TN TZ UG YT ZA ZM ZW",
    "North America": "AG AI AW BB BL BM BQ BS BZ CA CR CU CW DM DO GD GL GP GT HN HT JM KN KY LC MF MQ MS MX NI PA PM "
    "PR SV SX TC TT US VC VG VI",
    "South America": "AR BO BR CL CO EC FK GF GY PE PY SR UY VE",
    "Western Europe": "AD AT AX BE CH DE DK ES FI FO FR GB GG GI GR IE IM IS IT JE LI LU MC MT NL NO PT SE SJ SM VA",
    "Eastern Europe": "AL BA BG BY CZ EE HR HU LT LV MD ME MK PL RO RS RU SI SK UA XK",
    "Middle East": "AE AM AZ BH CY GE IL IQ IR JO KW LB OM PS QA SA SY TR YE",
    "Central Asia": "AF KG KZ MN TJ TM UZ",
    "India": "BD BT IN LK MV NP PK",
    "China": "CN HK MO TW",
    "Korea": "KP KR",
    "Japan": "JP",
    "Southeast Asia": "BN ID KH LA MM MY PH SG TH TL VN",
    "Oceania": "AS AU CC CK CX FJ FM GU KI MH MP NC NF NR NU NZ PF PG PN PW SB TK TO TV UM VU WF WS",
    "Antarctica": "AQ BV GS HM TF",
}

REGIONS: tuple[str, ...] = tuple(_COUNTRIES)
"""Names of the real regions, in the order in which tables and legends list them."""

region_of_country: dict[str, str] = {code: region for region, codes in _COUNTRIES.items() for code in codes.split()}
"""ISO 3166-1 alpha-2 code -> region. A code that is not here belongs to `OTHER`."""

REGION_COLOURS: dict[str, str] = {
    "Africa": "#88CCEE",
    "North America": "#AA4499",
    "South America": "#DDCC77",
    "Western Europe": "#CC6677",
    "Eastern Europe": "#BBCC33",
    "Middle East": "#4477AA",
    "Central Asia": "#44AA99",
    "India": "#999933",
    "China": "#332288",
    "Korea": "#117733",
    "Japan": "#FFAABB",
    "Southeast Asia": "#882255",
    "Oceania": "#EE8866",
    "Antarctica": "#BBBBBB",
    OTHER: "#777777",
}
"""From Paul Tol's colour-blind-safe schemes (muted, light, bright; SRON/EPS/TN/09-002, 2021). No fourteen colours are
told apart by every eye, so they are dealt out so that neighbours on the map are far apart under simulated deuteranopia
and protanopia too (a test holds that), and virtual regions have a marker of their own."""

VIRTUAL_COLOURS: tuple[str, ...] = ("#CC3311", "#EE7733", "#009988", "#EE3377", "#0077BB")
"""For regions without a colour of their own, in turn (Paul Tol's vibrant scheme); the blue, near that of real cities on
a chart, comes last."""


def colours(regions: Sequence[str]) -> dict[str, str]:
    """A colour `#RRGGBB` for each region name, real or virtual; the same names in the same order get the same."""
    unknown = [name for name in regions if name not in REGION_COLOURS]
    turn = {name: VIRTUAL_COLOURS[k % len(VIRTUAL_COLOURS)] for k, name in enumerate(unknown)}
    return {name: REGION_COLOURS.get(name, turn.get(name, "")) for name in regions}
