"""Estimate the tokens of a text without a tokenizer: character by character, at a rate for each script.

Guarantees: the rates follow from a tokenizer's counts of fixed texts. So the rates are the same in every run and on
every node, with or without the marks at a text's ends. Estimates are rather too high than too low.

Each fixed text is one request to a node, short enough for any model. The prose is the first article of the Universal
Declaration of Human Rights, which stands in all these languages.
"""

import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, Self

# One token for every tokenizer; the other tokens that a node counts are marks at the ends of a text.
ONE_TOKEN: Final = "a"

# Texts for each kind of character whose rate they measure. A kind comes after the kinds whose characters its own texts
# also contain.
GAUGES: Final[dict[str, tuple[str, ...]]] = {
    "digit": ("1873 20461 3 59 700 14 2026 88 31415 9 0 62 5000 417 1066 25 38 999",),
    "sign": (", . ; : ( ) - – — ' \" “ ” ’ / % + = * & # @ | [ ] { } < > _ ! ? · • § ° … ,\n.\n|\n",),
    "english": (
        "Whenever a bearing runs hot, the fitter checks the lubricant first: debris from worn rollers scratches "
        "the raceway, friction grows, and within hours the housing warps. Replace seals, flush the sump, and "
        "log vibration readings, because a hairline crack seldom shows itself until the shaft has seized.",
    ),
    "latin": (
        "Kaikki ihmiset syntyvät vapaina ja tasavertaisina arvoltaan ja oikeuksiltaan. Heille on annettu järki ja "
        "omatunto, ja heidän on toimittava toisiaan kohtaan veljeyden hengessä.",
        "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw. Są oni obdarzeni rozumem "
        "i sumieniem i powinni postępować wobec innych w duchu braterstwa.",
    ),
    "accented": (
        "Všichni lidé rodí se svobodní a sobě rovní co do důstojnosti a práv. Jsou nadáni rozumem a svědomím a "
        "mají spolu jednat v duchu bratrství.",
        "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền. Mọi con người đều được tạo "
        "hoá ban cho lý trí và lương tâm và cần phải đối xử với nhau trong tình bằng hữu.",
    ),
    "greek": (
        "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα. Είναι προικισμένοι "
        "με λογική και συνείδηση.",
    ),
    "cyrillic": (
        "Всі люди народжуються вільними і рівними у своїй гідності та правах. Вони наділені розумом і совістю і "
        "повинні діяти у відношенні один до одного в дусі братерства.",
    ),
    "hebrew": (
        "כל בני אדם נולדו בני חורין ושווים בערכם ובזכויותיהם. כולם חוננו בתבונה ובמצפון, לפיכך חובה עליהם לנהוג "
        "איש ברעהו ברוח של אחוה.",
    ),
    "arabic": (
        "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق. وقد وهبوا عقلاً وضميرًا وعليهم أن يعامل بعضهم بعضًا "
        "بروح الإخاء.",
        "تمام افراد بشر آزاد بدنیا میایند و از لحاظ حیثیت و حقوق با هم برابرند. همه دارای عقل و وجدان میباشند.",
    ),
    "indic": (
        "সমস্ত মানুষ স্বাধীনভাবে সমান মর্যাদা এবং অধিকার নিয়ে জন্মগ্রহণ করে। তাঁদের বিবেক এবং বুদ্ধি আছে; সুতরাং সকলেরই "
        "একে অপরের প্রতি ভ্রাতৃত্বসুলভ মনোভাব নিয়ে আচরণ করা উচিত।",
        "மனிதப் பிறிவியினர் சகலரும் சுதந்திரமாகவே பிறக்கின்றனர்; அவர்கள் மதிப்பிலும், உரிமைகளிலும் சமமானவர்கள்.",
    ),
    "thai": (
        "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ ต่างมีเหตุผลและมโนธรรม "
        "และควรปฏิบัติต่อกันด้วยเจตนารมณ์แห่งภราดรภาพ",
    ),
    "han": (
        "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。",
        "人人生而自由，在尊嚴和權利上一律平等。他們賦有理性和良心，並應以兄弟關係的精神相對待。",
    ),
    "kana": (
        "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。人間は、理性と良心とを"
        "授けられており、互いに同胞の精神をもって行動しなければならない。",
    ),
    "hangul": (
        "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. 인간은 천부적으로 이성과 양심을 "
        "부여받았으며 서로 형제애의 정신으로 행동하여야 한다.",
    ),
    "other": (
        "ມະນຸດເກີດມາມີສິດເສລີພາບ ແລະ ສະເໝີໜ້າກັນໃນທາງກຽດຕິສັກ ແລະ ທາງສິດ.",
        "ყოველი ადამიანი იბადება თავისუფალი და თანასწორი თავისი ღირსებითა და უფლებებით.",
        "∑ ∂ ≤ ≠ √ ∞ → ⇒ ∈ ∪ ½ ² ⁿ ♠ ☀ 🚲 🌍 𝑥 𝛼 ✓ ■ ─ €",
    ),
}


# The version changes with the texts and the scripts, because rates of two versions cannot be compared.
_VERSION: Final = 1

# Other texts of a script take more tokens than the one that was measured; most by less than this.
_MARGIN_FACTOR: Final = 1.2

# Tokens a character, whatever a node says: a tokenizer that knows nothing of a script counts a whole word of it
# as one, and one that takes it byte by byte has four for a character at most.
_MIN_RATE, _MAX_RATE = 0.125, 4.0

# The kind of a character, by the first code point of each range. All other characters are "other".
_RANGES: Final = (
    (0x00, "sign"),
    (0xC0, "accented"),
    (0x370, "greek"),
    (0x400, "cyrillic"),
    (0x530, "other"),
    (0x590, "hebrew"),
    (0x600, "arabic"),
    (0x780, "other"),
    (0x900, "indic"),
    (0xE00, "thai"),
    (0xE80, "other"),
    (0x1E00, "accented"),
    (0x1F00, "other"),
    (0x2000, "sign"),
    (0x2070, "other"),
    (0x3000, "han"),
    (0x3040, "kana"),
    (0x3100, "other"),
    (0x3400, "han"),
    (0xA000, "other"),
    (0xAC00, "hangul"),
    (0xD7B0, "other"),
    (0xFF00, "han"),
    (0xFFF0, "other"),
)
_FIRSTS: Final = [first for first, _ in _RANGES]

# Words that make up a third of English prose, and next to nothing of what is written in other languages.
_ENGLISH: Final = frozenset("the of and to that with this from by are it not be or is was".split())  # noqa: SIM905
# With so great a share of these words, a text is English for sure.
_CERTAIN_SHARE: Final = 0.2
_WORD: Final = re.compile(r"[a-z]+")


@cache
def _script(character: str) -> str:
    if character == " ":
        return ""
    if character.isascii() and character.isalnum():
        return "digit" if character.isdigit() else "latin"
    return _RANGES[bisect_right(_FIRSTS, ord(character)) - 1][1]


@dataclass(frozen=True, slots=True)
class TokenRates:
    """Tokens that a model's tokenizer makes of a character, by script.

    Attributes:
        hundredths: Hundredths of a token a character, in the order of `GAUGES`.
        ends: Tokens that mark the ends of a text.
    """

    hundredths: tuple[int, ...]
    ends: int = 2

    def __call__(self, text: str) -> int:
        """Return the tokens of a text, with the marks at its ends; rather too many than too few."""
        rates = dict(zip(GAUGES, self.hundredths, strict=True))
        rates[""] = 0
        rates["latin"] += round((rates["english"] - rates["latin"]) * _english(text))
        total = sum(count * rates[_script(character)] for character, count in Counter(text).items())
        return self.ends + math.ceil(total / 100)

    @property
    def name(self) -> str:
        """The rates as text, from which `named` makes them again."""
        return f"rates{_VERSION}:{self.ends}:{'.'.join(map(str, self.hundredths))}"

    @classmethod
    def named(cls, name: str) -> Self | None:
        """Return the rates of this name, or None if it is not a name of rates."""
        match = re.fullmatch(rf"rates{_VERSION}:(\d+):(\d+(?:\.\d+){{{len(GAUGES) - 1}}})", name)
        return cls(tuple(map(int, match[2].split("."))), int(match[1])) if match else None


def _english(text: str) -> float:
    """Return how certainly a text is English prose, 0 to 1. Capitals are not: they take more tokens."""
    words = _WORD.findall(text)
    share = sum(word in _ENGLISH for word in words) / max(1, len(words))
    return min(1.0, share / _CERTAIN_SHARE)


def gauge_texts() -> list[str]:
    """Return the texts whose tokens a node counts: one text of one token, then those of `GAUGES`."""
    return [ONE_TOKEN, *(sample for samples in GAUGES.values() for sample in samples)]


def measured_rates(counts: Sequence[int]) -> TokenRates | None:
    """Return the rates from a node's counts of `gauge_texts()`; None if the counts are impossible.

    Args:
        counts: Tokens of each text, in their order.
    """
    texts = gauge_texts()
    if any(not 0 < count <= 8 + len(text.encode()) for count, text in zip(counts, texts, strict=True)):
        return None
    ends, found = counts[0] - 1, iter(counts[1:])
    rates: dict[str, float] = {"": 0.0}
    for script, samples in GAUGES.items():
        rate = _MIN_RATE
        for sample in samples:
            # Texts between measured kinds count as their letters: those of English prose as English.
            kinds = Counter(each if each in rates else script for each in map(_script, sample))
            rest = sum(number * rates[kind] for kind, number in kinds.items() if kind != script)
            rate = max(rate, (next(found) - ends - rest) / kinds[script])
        rates[script] = min(rate, _MAX_RATE)
    hundredths = tuple(math.ceil(100 * min(_MAX_RATE, _MARGIN_FACTOR * rates[script])) for script in GAUGES)
    return TokenRates(hundredths, max(2, ends))


# Tokens of a text for a model whose nodes do not count them: by script, the most that the tokenizers of BERT, Gemma 3,
# Llama 2 and Qwen 3 came to.
estimate_tokens: Final = TokenRates((164, 120, 31, 59, 195, 140, 119, 146, 149, 157, 125, 140, 125, 217, 338))


def at_least(count_tokens: Callable[[str], int]) -> Callable[[str], int]:
    """Return a counter that gives at least a token for eight characters.

    A tokenizer that knows nothing of a script takes a whole sentence of Thai for one unknown word, and chunks would
    be as long as chapters.
    """
    return lambda text: max(count_tokens(text), math.ceil(_MIN_RATE * len(text)))
