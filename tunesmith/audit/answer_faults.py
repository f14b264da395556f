"""What can be wrong with one answer, told from its text and its question. It knows no row and no other answer."""

from __future__ import annotations

import re

_WORD = re.compile(r"\w+(?:['’]\w+)*")
BEGINNING = 300
"""Characters of an answer in which a refusal is looked for."""

_SURE_REFUSAL = re.compile(
    r"\bas an? (?:ai|artificial intelligence|large language|language)(?: language)?(?: model| assistant)?\b"
    r"|\bi(?:['’]m| am) (?:just |only |merely )?an? (?:ai|artificial intelligence|(?:large )?language model)\b"
    r"|\bals (?:ki|künstliche intelligenz|sprachmodell|ki-sprachmodell|ki-assistent)\b"
    r"|\ben tant qu(?:['’]|e )(?:ia|intelligence artificielle|modèle de langage|assistant)\b"
    r"|\bcomo (?:modelo de lenguaje|ia\b|una? (?:ia|inteligencia artificial|modelo de lenguaje)"
    r"|(?:um )?modelo de linguagem|uma (?:ia|inteligência artificial))"
    r"|\bin quanto (?:ia|intelligenza artificiale|modello linguistico)\b|\bcome (?:ia|modello linguistico)\b"
    r"|\bals (?:ai|taalmodel|ai-taalmodel)\b|\bjako (?:model językowy|sztuczna inteligencja|jazykový model)\b"
    r"|\bsom (?:ai|en ai|språkmodell|en språkmodell|sprogmodel)\b|\bbir (?:yapay zeka|dil modeli) olarak\b"
    r"|как (?:языковая модель|ии\b|искусственный интеллект)|作为(?:一个|一名|一款)?(?:AI|ai|人工智能|语言模型)"
    r"|(?:AI|言語モデル|人工知能)として|(?:AI|인공지능|언어 모델)(?:로서|이므로)",
    re.IGNORECASE,
)
_ABLE = (
    r"(?:assist|help(?! but| feel| fall| think| it\b| lov)|fulfil+|comply|provide (?!enough)|do that|do this|"
    r"(?:write|create|generate|discuss|engage|continue|support|answer)(?: in| with)? (?:that|this|such|your|content|"
    r"the requested|explicit|hateful|illegal))"
)
_REFUSAL = re.compile(
    r"\bi (?:can(?:['’]t|not| not)|(?:am|['’]m) (?:not able|unable) to|won['’]t|will not|"
    rf"(?:am|['’]m) not (?:programmed|designed|comfortable)) (?:be able to )?(?:to )?{_ABLE}\b"
    r"|\bi(?:['’]m| am) (?:really |very |so )?sorry,? (?:but )?i (?:can(?:['’]t|not| not)|(?:am|['’]m) "
    r"(?:not able|unable))"
    r"|\bi must (?:decline|refuse)\b|\bi don['’]t have (?:personal )?(?:opinions|feelings|beliefs|emotions)\b"
    r"|\b(?:it is|it['’]s) (?:not (?:appropriate|ethical)|against my (?:programming|guidelines))"
    r"|\bes tut mir leid,? (?:aber )?(?:ich kann|das kann ich|dabei kann ich)\b[^.]{0,40}\bnicht\b"
    r"|\bich kann (?:dir|ihnen|dabei|das) (?:leider )?nicht (?:helfen|beantworten|weiterhelfen)"
    r"|\bje suis désolée?,? mais je ne peux pas\b|\bje ne peux pas (?:vous aider|t['’]aider|répondre|fournir)"
    r"|\blo siento,? (?:pero )?no puedo\b|\bno puedo (?:ayudarte|ayudarle|ayudar con|proporcionar)"
    r"|\bdesculpe,? mas (?:eu )?não posso\b|\bnão posso (?:ajudar|fornecer)|\bmi dispiace,? ma non posso\b"
    r"|\bhet spijt me,? maar ik kan\b|\bjag (?:är ledsen|beklagar),? men jag kan inte\b|\bprzykro mi,? ale nie mogę\b"
    r"|извините,? (?:но )?я не могу|к сожалению,? я не могу|抱歉，?我(?:不能|无法)|对不起，?我(?:不能|无法)"
    r"|我无法(?:提供|协助)"
    r"|申し訳(?:ありません|ございません)が|죄송하지만",
    re.IGNORECASE,
)

_SIGNS = (
    "as an", "as a ", "i'm a", "i'm just", "i'm only", "i'm merely", "i am a", "i am just", "i am only", "i am merely",
    "i can't", "i cannot", "i can not", "unable", "not able", "won't", "will not", "not programmed", "not designed",
    "not comfortable", "sorry", "must decline", "must refuse", "i don't have", "not appropriate", "not ethical",
    "against my", "als ", "en tant qu", "como ", "quanto ia", "quanto int", "quanto mod", "come ia", "come mod",
    "jako ", "som ", "yapay zeka", "dil modeli", "как ", "作为", "として", "로서", "이므로", "tut mir leid", "ich kann",
    "je suis d", "je ne peux", "lo siento", "no puedo", "desculpe", "não posso", "mi dispiace", "spijt me", "jag ",
    "przykro mi", "извините", "сожалению", "抱歉", "对不起", "我无法", "申し訳", "죄송하지만",
)  # fmt: skip
"""What every refusal holds one of, for a quick look."""

_ROLE_OF_ITS_OWN = re.compile(
    r"^\s*(?:\*\*)?(?:assistant|ai|bot|chatbot|chatgpt|gpt(?:-\d\w*)?|claude|model|assistent|asistente|"
    r"asistent|assistente|ассистент|助手|アシスタント)(?:\*\*)?\s*[:：]\s*(?:\*\*)?\s*",
    re.IGNORECASE,
)
_OTHER_ROLE = (
    r"(?:user|human|customer|student|client|benutzer|nutzer|usuario|utilisateur|utente|usuário|пользователь|用户)"
)
_STARTS_AS_OTHER = re.compile(
    rf"^\s*(?:\*\*)?(?:{_OTHER_ROLE}|system|### ?(?:human|user))(?:\*\*)?\s*[:：]", re.IGNORECASE
)
_GOES_ON_AS_OTHER = re.compile(
    rf"\n\s*(?:\*\*)?(?:###\s*)?{_OTHER_ROLE}(?:\*\*)?\s*[:：].*?\n\s*(?:\*\*)?(?:###\s*)?(?:assistant|ai|bot|chatbot|gpt)"
    r"(?:\*\*)?\s*[:：]|\n\s*(?:###\s*)?Human\s*:",
    re.IGNORECASE | re.DOTALL,
)
_ABOUT_TALK = re.compile(
    r"\b(?:dialog(?:ue)?|conversation|chat|transcript|script|play|scene|interview|role.?play|screenplay|customer)", re.I
)

_FENCE = re.compile(r"^\s*(?:[-*>]\s*)?(`{3,}|~{3,})", re.MULTILINE)
_ENDS = set(".!?…:;)\"'»”’]}`*|>。！？」』）%€$°#~=✓✅/") | {"۔", "।"}
_LAST_WORD = re.compile(r"([^\W\d_]+)[\s]*$")
_FUNCTION_WORDS = re.compile(
    "the|a|an|of|and|to|in|is|for|on|with|as|at|by|that|which|or|but|if|because|from|into|your|their|its|our|"
    "this|these|are|was|were|be|been|has|have|will|would|can|could|should|than|then|when|while|such|not|no|very|"
    "also|more|der|die|das|und|oder|ein|eine|einen|dem|den|des|mit|von|zu|für|auf|ist|sind|wird|dass|weil|aber|"
    "wenn|als|nicht|le|la|les|de|du|et|ou|un|une|dans|pour|par|sur|avec|que|qui|est|sont|en|au|aux|el|los|las|y|"
    "o|con|para|por|del|al|una|su|sus|es|son|lo|il|gli|di|e|che|per|nel|della|het|een|van|dat|met|voor"
)
_LIST_LINE = re.compile(r"^\s*(?:[-*•+]|\d+[.)]|[a-z]\)|\|)")
WINDOWS = ((32, 0.5), (64, 0.5), (192, 0.42))
"""Stretches of words, and the share of different words up to which one may hold a loop."""
LONGEST_BLOCK = 60
LEAST_CUT_WORDS, LEAST_LINE_WORDS = 12, 6


def words_of(text: str) -> list[str]:
    """The words of a text in lower case."""
    return _WORD.findall(text.lower())


def refusal(answer: str) -> tuple[str, float] | None:
    """What in an answer refuses or speaks as an AI, and how sure that is."""
    beginning = answer[:BEGINNING]
    low = beginning.lower().replace("’", "'")
    if not any(sign in low for sign in _SIGNS):
        return None
    if found := _SURE_REFUSAL.search(beginning):
        return found[0], 0.95
    if found := _REFUSAL.search(beginning):
        return found[0], 0.8
    return None


def copies(question: list[str], answer: list[str]) -> tuple[str, float] | None:
    """Whether an answer says its question again: as a whole, or before anything else; both as words.

    A passage of a long question that answers it (extraction) is no copy.
    """
    if len(question) < 4 or len(answer) < 4:
        return None
    if question == answer:
        return "the answer is the question", 1.0
    if len(question) >= 6 and answer[: len(question)] == question:
        return "the answer begins with the whole question", 0.9
    if len(answer) >= 0.9 * len(question) and len(answer) <= 1.1 * len(question) and len(answer) >= 8:
        shared = len(set(question) & set(answer)) / len(set(question) | set(answer))
        if shared >= 0.95:
            return "the answer is the question, all but word for word", 0.8
    return None


def looped(answer: str) -> tuple[str, float] | None:
    """What an answer says over and over without a pause, and how sure it is that nobody meant it.

    A block of one word must come six times, a longer one four times (a sentence three); tables, numbers and rows of
    signs do not count.
    """
    words = answer.split()
    if len(words) < 6 or not any(_monotonous(words, *window) for window in WINDOWS):
        return None
    import numpy as np

    numbers = {word: n for n, word in enumerate(dict.fromkeys(words))}
    said = np.array([numbers[word] for word in words])
    for period in range(1, min(LONGEST_BLOCK, len(words) // 3) + 1):
        same = np.concatenate([[False], said[:-period] == said[period:], [False]])
        edges = np.flatnonzero(same[1:] != same[:-1])
        starts, ends = edges[::2], edges[1::2]
        for start, length in zip(starts.tolist(), (ends - starts).tolist(), strict=True):
            times, covered = length // period + 1, (length + period) / len(words)
            block = words[start : start + period]
            if times < _least_times(period) or not _is_speech(block):
                continue
            at_end = start + length + period >= len(words) - period
            if covered >= 0.3 or at_end or times >= 8:
                return f"{times} times {' '.join(block)[:60]!r}", min(1.0, 0.7 + 0.3 * covered)
    return None


def _monotonous(words: list[str], width: int, most: float) -> bool:
    """Whether some stretch of so many words has few different ones; prose has three quarters in 64 words."""
    if len(words) <= width:
        return len(set(words)) <= most * len(words)
    starts = [*range(0, len(words) - width, width // 2), len(words) - width]
    return any(len(set(words[start : start + width])) <= most * width for start in starts)


def _least_times(period: int) -> int:
    return 6 if period == 1 else 4 if period < 6 else 3


def _is_speech(block: list[str]) -> bool:
    letters = sum(sum(map(str.isalpha, word)) for word in block)
    return letters >= 3 and letters >= 0.5 * sum(map(len, block)) and "|" not in block


def own_role(answer: str) -> str | None:
    """The answer without the name of its own role at its beginning; None where there is none."""
    found = _ROLE_OF_ITS_OWN.match(answer)
    return answer[found.end() :] if found and len(answer) > found.end() else None


def other_role(answer: str, question: str) -> tuple[str, float] | None:
    """Where an answer speaks as somebody else; not where a conversation was asked for."""
    if ":" not in answer and "：" not in answer:
        return None
    found = _STARTS_AS_OTHER.match(answer) or _GOES_ON_AS_OTHER.search(answer)
    if found is None or _ABOUT_TALK.search(question):
        return None
    return found[0].strip()[:40], 0.95 if found.start() == 0 else 0.8


def open_fence(answer: str) -> bool:
    """Whether a block of code is opened and never closed."""
    if "```" not in answer and "~~~" not in answer:
        return False
    opened = ""
    for match in _FENCE.finditer(answer):
        fence = match[1]
        if not opened:
            opened = fence
        elif fence[0] == opened[0] and len(fence) >= len(opened):
            opened = ""
    return bool(opened)


def ending(answer: str) -> int:
    """How an answer ends: 0 too short or not prose, 1 as a sentence does, 2 in the midst of one, 3 surely so."""
    text = answer.rstrip()
    if text.count(" ") < LEAST_CUT_WORDS - 1:
        return 0
    last = text[-1]
    if last in _ENDS or not (last.isalnum() or last in ",-–—("):
        return 1
    line = text[text.rfind("\n") + 1 :]
    if last in ",(–—":
        return 3
    if last.isdigit() or _LIST_LINE.match(line) or line.count(" ") < LEAST_LINE_WORDS - 1:
        return 0
    found = _LAST_WORD.search(line[-40:])
    word = found[1] if found else ""
    return 3 if _FUNCTION_WORDS.fullmatch(word) or last == "-" else 2
