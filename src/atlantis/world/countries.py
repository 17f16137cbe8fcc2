"""Countries as people write them -> ISO 3166-1 alpha-2: codes of two and three letters, numbers, and names.

Names come from pycountry: short, official and common ones in English, and where these do not do, in the languages that
it has. Two names are the same if they have the same words, whatever the order, case, accents and punctuation:
"Korea, Republic of" is "Republic of Korea". `EVERYDAY` has what people write and no standard lists.
"""

from __future__ import annotations

import gettext
import re
import unicodedata
from collections import Counter
from functools import cache, lru_cache
from pathlib import Path

import numpy as np

from atlantis.world.columns import Columns
from atlantis.world.regions import region_of_country
from atlantis.world.table import TextTable

EVERYDAY = {
    "AE": "UAE",
    "AT": "Österreich",
    "AX": "Aland|ALD",
    "BA": "Bosnia|Bosnia and Herz.",
    "BN": "Brunei",
    "BS": "The Bahamas",
    "BY": "Weißrussland",
    "CD": "Congo, Dem. Rep.|DRC|Democratic Republic of the Congo|DR Congo|Dem. Rep. of the Congo|"
    "Congo (Kinshasa)|Congo-Kinshasa|Zaire|ZAR",
    "CF": "Central African Rep.",
    "CG": "Congo, Rep.|Republic of the Congo|Congo (Brazzaville)|Congo-Brazzaville",
    "CI": "Ivory Coast|Cote d'Ivoire|Elfenbeinküste",
    "CN": "PR China|Mainland China",
    "CV": "Cape Verde|Cabo Verde",
    "CZ": "Czech Republic|République tchèque",
    "DO": "Dominican Rep.",
    "EG": "Egypt, Arab Rep.",
    "EH": "W. Sahara|SAH",
    "FI": "Suomi",
    "FK": "Falkland Islands|Falkland Is.|Falkland Islands (Islas Malvinas)",
    "FM": "Micronesia|Micronesia, Fed. Sts.",
    "GB": "U.K.|Great Britain|Britain|England|Scotland|Wales|Northern Ireland|Großbritannien|Великобритания",
    "GM": "The Gambia",
    "GQ": "Eq. Guinea",
    "HK": "Hong Kong SAR|Hong Kong S.A.R.|Hong Kong SAR, China|China, Hong Kong SAR",
    "IE": "Republic of Ireland|Eire",
    "IR": "Iran, Islamic Rep.|Persia",
    "JP": "Nippon",
    "KN": "St. Kitts and Nevis",
    "KP": "Korea, North|N. Korea|Dem. Rep. Korea|Korea, Dem. Rep.|Korea, Dem. People's Rep.",
    "KR": "Korea, South|S. Korea|Korea, Rep.|South Korea",
    "LA": "Laos|Lao PDR",
    "LY": "Libyan Arab Jamahiriya",
    "MF": "Saint Martin",
    "MK": "Macedonia|Macedonia, FYR|FYROM|FYR Macedonia|The former Yugoslav Republic of Macedonia",
    "MM": "Burma|Myanmar (Burma)",
    "MO": "Macau|Macao SAR|Macau S.A.R.|Macao S.A.R.|Macau SAR, China|Macao SAR, China|China, Macao SAR",
    "NL": "Holland|The Netherlands",
    "PM": "St. Pierre and Miquelon",
    "PN": "Pitcairn Islands",
    "PS": "West Bank|Gaza|Gaza Strip|West Bank and Gaza|Palestinian Territory|Palestinian Territories|"
    "Occupied Palestinian Territory|Palestine|PSX",
    "RO": "ROM",
    "RU": "Russia|Russland|Russie|Rusia|Rosja|Россия|ロシア",
    "SB": "Solomon Is.",
    "SH": "Saint Helena",
    "SS": "S. Sudan|SDS",
    "ST": "Sao Tome and Principe",
    "SX": "Sint Maarten",
    "SZ": "Swaziland",
    "TL": "East Timor|TMP",
    "TR": "Turkey",
    "TW": "Taiwan, China|China, Taiwan Province of China|Chinese Taipei",
    "US": "USA|U.S.A.|U.S.|America|United States of America",
    "VA": "Vatican|Vatican City|Holy See|Vatican City State",
    "VC": "St. Vincent and the Grenadines|St. Vin. and Gren.",
    "VE": "Venezuela, RB",
    "VG": "British Virgin Islands",
    "VI": "US Virgin Islands|U.S. Virgin Islands|United States Virgin Islands",
    "XK": "Kosovo|XKX|KOS|Republic of Kosovo",
    "YE": "Yemen, Rep.",
}
"""What people write, and what databases do (World Bank, Natural Earth, the CIA's factbook), beyond pycountry."""

_SHORT = {"UK": "GB", "EL": "GR"}
"""Codes of the European Union that ISO 3166 has not."""
LANGUAGES = (
    *(
        "ar",
        "bg",
        "cs",
        "da",
        "de",
        "el",
        "es",
        "fa",
        "fi",
        "fr",
        "he",
        "hi",
        "hr",
        "hu",
        "id",
        "it",
        "ja",
        "ko",
        "nb_NO",
    ),
    *("nl", "pl", "pt", "pt_BR", "ro", "ru", "sk", "sr", "sv", "th", "tr", "uk", "vi", "zh_CN", "zh_TW"),
)
"""Of pycountry's, those in which names of countries are tried."""
NOTHING = frozenset({"", "-", "--", "?", "n/a", "#n/a", "nan", "null", "none", "unknown", "-99", "-9999", "-1", "nil"})
"""What stands for no value, in lower case."""
_SMALL_WORDS = frozenset({"the", "of", "and", "et", "y", "e", "und", "la", "le"})


def _words(name: str) -> frozenset[str]:
    name = re.sub(r"\bSt[. -]", "Saint ", name.replace("&", " and "))
    letters = unicodedata.normalize("NFKD", re.sub(r"['’‘`.]", "", name))
    bare = "".join(c for c in letters if not unicodedata.combining(c)).casefold()
    words = frozenset(re.findall(r"\w+", bare))
    return words - _SMALL_WORDS or words  # AND is Andorra


@cache
def _english() -> dict[frozenset[str], str]:
    import pycountry

    table = {_words(name): code for code, names in EVERYDAY.items() for name in names.split("|")}
    for country in pycountry.countries:
        for key in ("name", "common_name", "official_name", "alpha_3"):
            if hasattr(country, key):
                table.setdefault(_words(getattr(country, key)), country.alpha_2)
    return {words: code for words, code in table.items() if words}


@cache
def _foreign() -> dict[frozenset[str], str]:
    """Names in other languages, without those that mean two countries."""
    import pycountry

    codes: dict[frozenset[str], set[str]] = {}
    for language in LANGUAGES:
        with open(Path(pycountry.LOCALES_DIR) / language / "LC_MESSAGES" / "iso3166-1.mo", "rb") as file:
            translate = gettext.GNUTranslations(file).gettext
        for country in pycountry.countries:
            for key in ("name", "common_name"):
                if hasattr(country, key):
                    codes.setdefault(_words(translate(getattr(country, key))), set()).add(country.alpha_2)
    return {words: next(iter(found)) for words, found in codes.items() if words and len(found) == 1}


@lru_cache(maxsize=65536)
def alpha2(text: str) -> str | None:
    """The code of a country, written as a code of two or three letters or as a name; None if it is none.

    >>> [alpha2(text) for text in ("de", "DEU", "Korea, Republic of", "Deutschland", "Elsewhere")]
    ['DE', 'DE', 'KR', 'DE', None]
    """
    text = text.strip()
    if text.lower() in NOTHING or len(text) > 100:
        return None
    if re.fullmatch(r"[A-Z]{2}-[A-Z0-9]{1,3}", text):
        text = text[:2]  # ISO 3166-2: a part of a country
    if text.upper() in region_of_country:
        return text.upper()
    words = _words(text)
    code = (
        _SHORT.get(text.upper())
        or _english().get(words)
        or (None if text.isascii() and len(text) <= 3 else _foreign().get(words))
    )
    outside = text.partition("(")[0].strip() if code is None and text.endswith(")") else ""
    return alpha2(outside) if outside else code  # United States (USA)


def _numeric(text: str) -> str | None:
    import pycountry

    country = pycountry.countries.get(numeric=text.strip().zfill(3))
    return country.alpha_2 if country else None


def _column_codes(texts: list[str]) -> list[str | None]:
    """The codes of one column. What "NA" and numbers mean depends on the other values."""
    counts = Counter(map(str.strip, texts))
    values = {text: n for text, n in counts.items() if text.lower() not in NOTHING}
    # A column of numbers is one of ISO 3166 numbers only if all of them are: others are keys of a database.
    if values and all(re.fullmatch(r"\d{1,3}(\.0)?", text, re.ASCII) for text in values):
        numbers = {text: _numeric(text.removesuffix(".0")) for text in values}
        return [numbers.get(text.strip()) for text in texts] if all(numbers.values()) else [None] * len(texts)
    codes = {text: alpha2(text) for text in values}
    # NA is Namibia among codes of two letters; among names or longer codes it is how R writes a missing value.
    if "NA" in codes:
        short = sum(n for text, n in values.items() if len(text) == 2 and text != "NA" and codes[text])
        long = sum(n for text, n in values.items() if len(text) > 2 and codes[text])
        codes["NA"] = None if long > short else "NA"
    return [codes.get(text.strip()) for text in texts]


def _is_a_word(text: str) -> bool:
    return len(text) <= 200 and text.isprintable() and not text.replace(".", "").isdecimal()


def countries_of(table: TextTable, columns: Columns) -> tuple[list[str], Counter[str]]:
    """The country of each record, and how often each text was met that names none.

    It is an alpha-2 code; the text itself where that names no country; "" where nothing stands.
    """
    country = np.full(len(table.records), "", dtype=object)
    texts = country.copy()
    for index in columns.countries:
        written = np.array([text.strip() for text in table.column(index)], dtype=object)
        codes = np.array([code or "" for code in _column_codes(written.tolist())], dtype=object)
        country = np.where(country == "", codes, country)
        nothing = [text.lower() in NOTHING or "://" in text or not _is_a_word(text) for text in written]
        texts = np.where((texts == "") & ~np.array(nothing, dtype=bool), written, texts)
        if (country != "").all():
            break
    unknown = Counter(texts[(country == "") & (texts != "")].tolist())
    # NA as a missing value is none of the user's words for a country.
    unknown.pop("NA", None)
    texts[texts == "NA"] = ""
    return np.where(country == "", texts, country).tolist(), unknown
