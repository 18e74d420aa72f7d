"""Languages as containers name them: ISO 639-2 codes of three letters, from the BCP 47 tags that sources give."""

_PAIRS = (
    "af:afr am:amh ar:ara as:asm az:aze be:bel bg:bul bn:ben bs:bos ca:cat cs:cze cy:wel da:dan de:ger el:gre "
    "en:eng eo:epo es:spa et:est eu:baq fa:per fi:fin fil:fil fr:fre ga:gle gl:glg gu:guj ha:hau he:heb hi:hin "
    "hr:hrv hu:hun hy:arm id:ind ig:ibo is:ice it:ita iw:heb ja:jpn jv:jav ka:geo kk:kaz km:khm kn:kan ko:kor "
    "ku:kur ky:kir la:lat lb:ltz lo:lao lt:lit lv:lav mg:mlg mi:mao mk:mac ml:mal mn:mon mr:mar ms:may mt:mlt "
    "my:bur nb:nob ne:nep nl:dut nn:nno no:nor or:ori pa:pan pl:pol ps:pus pt:por qu:que ro:rum ru:rus rw:kin "
    "sa:san sd:snd si:sin sk:slo sl:slv sm:smo sn:sna so:som sq:alb sr:srp st:sot su:sun sv:swe sw:swa ta:tam "
    "te:tel tg:tgk th:tha ti:tir tk:tuk tl:tgl tr:tur tt:tat ug:uig uk:ukr ur:urd uz:uzb vi:vie xh:xho yi:yid "
    "yo:yor zh:chi zu:zul"
)
_THREE_LETTERS = dict(pair.split(":") for pair in _PAIRS.split())
_ALPHA_3 = 3


def three_letters(tag: str | None) -> str:
    """The code of a tag such as ``en-US``; ``und`` (undetermined) when it has none."""
    primary = (tag or "").replace("_", "-").split("-")[0].lower()
    if len(primary) == _ALPHA_3 and primary.isascii() and primary.isalpha():
        return primary
    return _THREE_LETTERS.get(primary, "und")
