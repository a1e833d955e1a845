"""Fixed texts on which a tokenizer is measured: each is one request to a node, short enough for any model.

The prose is the first article of the Universal Declaration of Human Rights, which stands in all these languages.
"""

from __future__ import annotations

from typing import Final

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
