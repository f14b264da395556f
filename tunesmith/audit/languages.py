"""Which language a text is in, by its script and its commonest words; no model. It knows no row.

It would rather say nothing than something wrong: a text without enough of one language's words has none. Words that
several languages share count for each of them by their share, and the best language must lead the next by far.
"""

from __future__ import annotations

import re
from functools import cache

READ_CHARACTERS = 400
"""How much of a text is looked at."""

_WORDS = {
    "English": "the of and to in is that it was for on are with as at be this have from or had by not but what all "
    "were when we there can an your which their if do will each how them then she many some so these would into has "
    "more her two like him see could no make than been its who now people my made over did down only way find use "
    "may been i'm don't it's i've you he they you're can't about out up one just me really very because should any "
    "after most where why does am our us his get got going good know think want per go come take say said never again "
    "off too still even back first well",
    "German": "der die das und ist nicht ich ein eine einen einem einer zu den dem des mit sich auf für auch es an "
    "von wie wir werden wird bei oder aus nach hat haben aber nur noch über sind wenn kann im am zum zur dass sie er "
    "du war mir mich dich uns wurde durch als sein ihre ihr diese dieser dieses kein keine mehr vor bis sehr schon "
    "immer hier alle man so was gibt bitte muss können möchte warum mein meine um ihn gut heute",
    "French": "le la les des du et est un une que qui dans pour pas sur au aux avec ce cette ces il elle nous vous "
    "ils je ne se sont plus par mais ou où comme son sa ses leur leurs été être avoir fait faire tout tous même si "
    "très bien peut c'est n'est d'un d'une qu'il j'ai l'on en à y a aussi votre notre quand sans mon ma mes quelle "
    "quel comment pourquoi dont cela était lorsque donc encore deux ici merci",
    "Spanish": "el la los las de que y en un una es por con para no se del al lo como más pero sus su le ya o este "
    "esta sí porque cuando muy sin sobre también me hasta hay donde quien desde todo nos durante todos uno les ni "
    "contra ese eso mi qué ser son fue está están tiene tengo puede cómo cuál cada eres usted gracias hacer cual "
    "entre era bien estoy si ha he esto mis ella él",
    "Portuguese": "o a os as de que e em um uma é por com para não se do da dos das no na nos nas ao mais como mas "
    "foi ele ela são está você seu sua ou ser quando muito há já eu também só pelo pela até isso isto entre depois "
    "sem mesmo aos ter seus quem me esse eles essa num nem suas meu às minha têm numa qual foram obrigado fazer pode "
    "estou bem tem uns este esta",
    "Italian": "il lo la i gli le di che e è un una in per con non si del della dei delle al alla da dal nel nella "
    "come più ma anche sono questo questa ha ho hai o se suo sua ci ne mi ti io tu lui lei noi voi loro essere stato "
    "quando tutto molto perché cosa chi dove sul sulla degli alle ai fatto fare può solo ancora già bene grazie era "
    "mio mia dopo senza così c'è",
    "Dutch": "de het een en van is dat in op te met voor niet zijn aan er om ook als maar door bij naar uit nog wel "
    "wat kan deze dit ik je jij hij zij ze we wij u hebben heeft had werd worden wordt over of die was geen meer "
    "veel hoe waar waarom mijn ons onze hun moet zou tot onder heel goed mij me haar hem toch dan al alle",
    "Swedish": "och att det som en ett på är av för med den till har de inte om jag så men var vi han hon från kan "
    "när också eller ska vara hade alla under där efter sig vid mycket då bara hur här vad detta dessa deras min "
    "mitt din ditt skulle kommer finns många mot man ut upp i varför måste mig dig blir",
    "Danish or Norwegian": "og at det som en et på er af for med den til har de ikke om jeg så men var vi han hun "
    "fra kan når også eller skal være havde alle under der efter sig ved meget da kun hvordan her hvad dette disse "
    "deres min mit din skulle kommer findes mange mod man ud op i hvorfor må mig dig bliver hvis blev noget hvor av "
    "hadde etter seg mye bare hva mitt finnes mot ut opp meg deg blir ble noe",
    "Finnish": "ja on ei että se hän oli mutta niin kuin joka mitä ovat minä sinä olen ole tämä myös kun voi jos "
    "vain ne sen sitä tai hyvä mikä miten nyt siitä minun sinun hänen kanssa jo sitten vielä olla ollut me te he "
    "tässä siellä paljon kaikki miksi",
    "Polish": "i w nie na się z do że to jest jak o co ale za od po by czy już tylko jego jej są tak przez dla ma "
    "być może był była było ten ta te go mnie mi ze tego tym które który która lub gdy pod oraz bardzo także kiedy "
    "gdzie dlaczego ja ty on ona my wy jestem proszę",
    "Czech or Slovak": "a se v na je že to s z do i o k ve pro jsem ale jako jeho by po za tak jsou jak si už co byl "
    "která který které nebo od až být má při bylo byla jen kde když tato tento není také více její můj tvůj proč "
    "však ještě mezi podle sa aj vo pre som ako sú čo bol ktorá ktorý ktoré alebo byť pri bolo bola len keď táto nie "
    "tiež viac jej môj tvoj prečo ešte medzi podľa",
    "Romanian": "și şi de la a în cu nu pe o că este un mai din se sunt pentru care ce sau dar au fost prin fi ca am "
    "ai al ale lui ei ea el noi voi această acest ar după când cum unde foarte doar toate între fără până îi îmi meu "
    "mea dacă",
    "Hungarian": "a az és nem hogy is egy ez van meg de volt csak már mint még ha vagy azt el le ki be fel kell "
    "lehet én te ő mi ti ők nagyon ami aki amely minden itt ott most igen hol miért mert után által lesz ezt ennek "
    "nincs vannak",
    "Turkish": "ve bir bu da de için ile çok ne o daha gibi kadar olarak olan ben sen biz siz onlar var yok değil "
    "ama ya mi mı mu mü her en ki sonra şey nasıl neden ise bana sana bunu şu iyi olduğu göre olduğunu tarafından",
    "Indonesian": "yang dan di ini itu dengan untuk dari tidak ada pada dalam akan ke adalah saya anda kamu dia "
    "mereka kami kita bisa dapat atau juga oleh sudah karena seperti lebih telah sebagai apa bagaimana hanya jika "
    "tersebut sangat",
    "Vietnamese": "và của là có không được cho một trong với các này người những để khi đã tôi bạn ở từ đến như về "
    "làm cũng nhưng rất ra gì nào anh em thì mà nhiều hay sẽ tại vì",
    "Russian": "и в не на что я с он как это а по но они мы из у за от так же для вы все ты его бы только её было "
    "мне если или ещё еще нет когда уже до был была были вот меня очень чтобы этот эта где почему есть можно о к при "
    "того",
    "Ukrainian": "і в не на що я з він як це а по але вони ми із у за від так ж для ви всі ти його би тільки її було "
    "мені якщо або ще немає коли вже до був була були ось мене дуже щоб цей ця де чому є можна про та та й й",
    "Bulgarian": "и в не на че аз с той как това а по но те ние от за са да се си ще вие всички ти му би само я беше "
    "ми ако или още няма когато вече до бил била били ето ме много този тази къде защо е може",
    "Serbian": "и у не на да ја с он како то а по али они ми из од за су се сам ће ви сви ти га би само је било ако "
    "или још нема када већ до био била били ево ме много овај ова где зашто може",
}
_SCRIPTS = {
    "Greek": "\u0370-\u03ff\u1f00-\u1fff",
    "Cyrillic": "\u0400-\u04ff",
    "Armenian": "\u0530-\u058f",
    "Hebrew": "\u0590-\u05ff",
    "Arabic": "\u0600-\u06ff\u0750-\u077f\ufb50-\ufdff\ufe70-\ufeff",
    "Hindi": "\u0900-\u097f",
    "Bengali": "\u0980-\u09ff",
    "Punjabi": "\u0a00-\u0a7f",
    "Gujarati": "\u0a80-\u0aff",
    "Tamil": "\u0b80-\u0bff",
    "Telugu": "\u0c00-\u0c7f",
    "Kannada": "\u0c80-\u0cff",
    "Malayalam": "\u0d00-\u0d7f",
    "Thai": "\u0e00-\u0e7f",
    "Georgian": "\u10a0-\u10ff",
    "Japanese": "\u3040-\u30ff",
    "Korean": "\uac00-\ud7af\u1100-\u11ff",
    "Chinese": "\u4e00-\u9fff\u3400-\u4dbf",
}
_SCRIPT = {name: re.compile(f"[{span}]") for name, span in _SCRIPTS.items()}
_OTHER_SCRIPT = re.compile("[\u0370-\u1eff\u3040-\ud7af\ufb1d-\ufefc]")
_LETTER = re.compile(r"[^\W\d_]")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_NO_PROSE = re.compile(r"https?://\S+|[@#]\w+|\S+@\S+|<[^>]*>|```.*?(?:```|$)", re.DOTALL)
_OWN_LETTERS = {
    "Ukrainian": "іїєґ",
    "Serbian": "ђћљњџј",
    "Persian": "پچژگکی",
    "Urdu": "ٹڈڑےں",
    "Vietnamese": "ơưạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹđ",
}
_LEAST_POINTS, _LEAD, _LEAST_SHARE, _LEAST_WORDS = 1.6, 1.6, 0.12, 2


@cache
def _points() -> dict[str, tuple[tuple[str, float], ...]]:
    """Word to the languages that it speaks for, each with its share of one."""
    owners: dict[str, list[str]] = {}
    for language, words in _WORDS.items():
        for word in dict.fromkeys(words.split()):
            owners.setdefault(word, []).append(language)
    # A single letter is often no word: a unit, a label, an initial.
    return {
        word: tuple((name, (0.3 if len(word) == 1 and word.isascii() else 1.0) / len(names)) for name in names)
        for word, names in owners.items()
    }


def language_of(text: str) -> str | None:
    """The language's English name; None where the text is too short or too mixed to tell.

    Chinese, Japanese, Korean, Greek and most of India's scripts are told by their letters, which a dozen of them do.
    """
    text = text[:READ_CHARACTERS]
    if "://" in text or "@" in text or "#" in text or "<" in text or "```" in text:
        text = _NO_PROSE.sub(" ", text)
    if not text.isascii() and _OTHER_SCRIPT.search(text):
        letters = len(_LETTER.findall(text))
        for name, pattern in _SCRIPT.items():
            count = len(pattern.findall(text))
            if count >= 4 and 2 * count > letters:
                return _in_script(name, text)
            if name == "Japanese" and count >= 2 and 2 * (count + len(_SCRIPT["Chinese"].findall(text))) > letters:
                return name
    return _by_words(text.lower())


def _in_script(script: str, text: str) -> str | None:
    if script == "Cyrillic":
        return _by_words(text.lower())
    if script == "Arabic":
        counts = {name: sum(map(text.count, _OWN_LETTERS[name])) for name in ("Urdu", "Persian")}
        return "Urdu" if counts["Urdu"] >= 2 else "Persian" if counts["Persian"] else "Arabic"
    return script


def _by_words(text: str) -> str | None:
    words = _WORD.findall(text)
    if len(words) < 3:
        return None
    points = _points()
    found: dict[str, float] = {}
    for word in words:
        for name, weight in points.get(word, ()):
            found[name] = found.get(name, 0.0) + weight
    if not found:
        return None
    if not text.isascii():
        for name in ("Ukrainian", "Serbian", "Vietnamese"):
            if name in found:
                found[name] += 0.7 * sum(map(text.count, _OWN_LETTERS[name]))
    best = max(found, key=found.__getitem__)
    second = max((value for name, value in found.items() if name != best), default=0.0)
    if found[best] < max(_LEAST_POINTS, _LEAST_SHARE * len(words)) or found[best] < _LEAD * second:
        return None
    speaking = {word for word in words if any(name == best for name, _ in points.get(word, ()))}
    return best if len(speaking) >= _LEAST_WORDS else None
