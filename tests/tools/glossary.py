"""Check Korean translations with a glossary: each names every term of the English text, and no opposite of one.

`KOREAN` maps an English term to its Korean words, and `ENGLISH` a Korean word to the English terms that it may
translate. Both are regular expressions; `{name}` is a placeholder in English, `⟦name⟧` in Korean. Words that are equal
in both texts, such as options, are not compared. A glossary cannot check a short name or the order of words:
`is_pinned` selects the messages whose complete Korean text is kept in a golden file.
"""

import re
from typing import Final

__all__ = ["OPPOSITES", "is_pinned", "occurrences", "placeholders", "problems"]

KOREAN: Final = {
    # actions
    r"activat\w+": r"(?<!비)활성화",
    r"deactivat\w+": r"비활성화",
    r"revert\w*|undo\w*|rollback|rolled back|roll back|restore": r"되돌|취소",
    r"protects?|protected|protection": r"보호",
    r"acknowledg\w+": r"인지|acknowledge",
    r"add|added|adds": r"추가|더하|기록|옮겨 적",
    r"removed?|removes|deleted?": r"제거|삭제|제외|빼|지우|해제|정리",
    r"allow(?:ed|s)?|lets? through": r"허용|수 있|쓸 수 없",
    r"reads?|reading|readable": r"조회|읽|확인",
    r"writes?|written|writing|wrote": r"쓰|쓸|씁|쓴|변경|적|저장|덮어|만[드듦든]|나누",
    r"accept(?:s|ed)?": r"받|수락",
    # outcomes
    r"blocked": r"차단",
    r"changed(?! since)": r"변경|바뀌|바뀐|바꿀|고치",
    r"unchanged|no changes?": r"변경 없|변경이 없|변경 사항(?:이)? 없|그대로|바뀌지 않",
    r"conflicts?": r"충돌|함께 쓸 수 없",
    r"converged?": r"완료|원하는 상태",
    r"failed|fails?|failing": r"실패|못|허용",
    r"held|holds (?:as|each)|refuses or holds": r"보류|안전 규칙",
    r"interrupted": r"중단",
    r"refus(?:e|es|ed)": r"거부",
    r"rejected": r"거절",
    r"unverified|not confirm(?:ed)?": r"미확인|확인하지 못|확인할 수 없",
    r"verified": r"확인|검증",
    r"suspended|paused": r"일시 중지",
    r"resumed": r"재개|풀",
    r"ambiguous": r"불명|정할 수 없",
    r"unmanaged": r"미관리",
    r"drift\w*": r"드리프트",
    r"partial": r"일부",
    r"crashed": r"비정상 종료",
    r"lost": r"유실|끊김",
    r"expir\w+": r"만료",
    r"attention": r"조치",
    r"pending": r"심사 중|남은 변경",
    r"ok": r"성공|이상 없음",
    r"kept|keeps(?! its last)": r"유지|변경하지 않|그대로|남[기기은]",
    # statuses
    r"(?:not|cannot be|no longer) registered": r"미등록|등록되[지어].*않|등록할 수 없",
    r"registered": r"등록",
    r"(?:not|no longer) listed": r"없|않",
    r"desired(?:-state)?": r"원하는 상태|조치할 것이 없는",
    r"current": r"현재|지금",
    r"unknown": r"알 수 없|쓸 수 없는",
    r"invalid": r"잘못|올바르지 않|올바른 .+ 아닙|쓸 수 없|않은|아닌",
    r"valid": r"올바|바로잡|로도",
    # negations
    r"not(?! attempted| \{actual\}| \{count\}| one of)|cannot|neither|never|no|none|nor|nothing|without": (
        r"않|없|못|아[니닌닙님]|단독|해제|풀|다[릅른]|빈 값|뿐|벗어|실패|불가|\d+만|미등록|안 함"
    ),
    # directions
    r"before": r"이전|전에|기 전|전의|앞",
    r"from \{before\} to \{after\}": r"⟦before⟧개에서 ⟦after⟧개로",
    r"earlier|previous|older": r"이전",
    r"after": r"이후|뒤|후|지나|다음|앞에 지역번호",
    r"later": r"이후|뒤|나중",
    r"from \{\w+\}": r"⟧년?부터|⟧개에서|⟧에서|파일|인증|⟧ ~",
    r"from (?:then|\d)": r"부터",
    r"until \{\w+\}": r"⟧까지",
    r"(?<!up )(?<!pushed )(?<!written )to \{\w+\}": r"⟧까지|⟧개로|~|⟧에|⟧년까지|⟧로",
    r"up to \{\w+\}": r"⟧까지|⟧ 이하",
    r"started|starts?(?! with)": r"시작|처음|초기|앞",
    r"ended|ends": r"끝|종료|만료|마치",
    r"stopped": r"중지|중단|정지|때까지",
    r"(?<!newest )(?<!next ones )first": r"첫|처음|먼저|우선",
    r"last|latest": r"마지막|최근|지난",
    r"at most": r"최대",
    r"at least": r"최소|이상",
    r"or more": r"이상|\+",
    r"fewer than|shorter than": r"적|짧",
    r"longer than|more than|deeper than": r"넘|초과|길|깊|깁|여러",
    r"s fast": r"빠릅",
    r"s slow": r"느립",
    r"newer": r"새로운|최신",
    r"lower|fell": r"낮|줄",
    r"higher": r"상향|높",
}
"""English term to Korean."""

ENGLISH: Final = {
    r"(?<!비)활성화": r"activat\w+",
    r"비활성화": r"deactivat\w+|held by",
    r"되돌": r"revert\w*|undo\w*|rollback|rolled back|roll\b.*back|restore",
    r"차단": r"blocked",
    r"충돌": r"conflicts?",
    r"실패": r"fail\w*|cannot be read|no plan",
    r"성공": r"ok|succeeds?",
    r"보류": r"held|holds?",
    r"미등록": r"not registered|missing",
    r"미확인": r"unverified",
    r"미관리": r"unmanaged",
    r"거부": r"refus\w+",
    r"거절": r"rejected",
    r"허용": r"allow\w*|let\b.*through|may fail",
    r"수락|받(?=아|지|았)": r"accept\w*|answered",
    r"확인됨": r"verified",
    r"불명": r"ambiguous",
    r"드리프트": r"drift\w*",
    r"일시 중지": r"suspended|paus\w+",
    r"중지": r"suspended|stop\w*|paus\w+",
    r"중단": r"interrupted|stop\w*|goes on",
    r"재개": r"resumed",
    r"시도 안 함": r"not attempted",
    r"변경됨": r"changed|of them also in the file",
    r"변경 없음": r"unchanged|no changes",
    r"유지": r"kept|keeps?",
    r"조회": r"reads?|reading|reachable",
    r"(?<!들여)쓰기": r"writes?|written|write-ahead",
    r"추가": r"add\w*|extra",
    r"제거": r"remove",
    r"삭제": r"removed?|deleted?",
    r"해제": r"no longer|protection",
    r"이전": r"before|previous|earlier|older|was|old",
    r"이후": r"after|since|later|then",
    r"나중": r"later",
    r"부터": r"from|since|newest first|leading|0 to 9",
    r"까지": r"until|to|at most|by",
    r"시작": r"start\w*|begin\w*|from|newest first|restart|each pass",
    r"종료": r"until|finished|ended|end|exit|crash(?:ed)?|shut down|died",
    r"처음": r"first|new",
    r"첫": r"first",
    r"먼저": r"first",
    r"마지막": r"last",
    r"최대": r"at most|maximum|most|up to",
    r"최소": r"at least|minimum",
    r"(?<!더 )이상": r"at least|or more|ok|minimum|fewer than",
    r"이하": r"up to|at most",
    r"빠릅": r"fast",
    r"느립": r"slow",
    r"늘었": r"rose|grew",
    r"줄었": r"fell",
    r"앞섭|앞서": r"before|ahead",
    r"현재": r"current|observed|now|no longer|keeps|is \{\w+\}|present|today|it is",
    r"원하는 상태": r"desired(?:-state)?|converge\w*|out of sync",
    r"보호(?!\.|로)": r"protect\w*",
    r"완료": r"converged|partial|finished|unfinished",
    r"않|없|못|아[니닙님]": (
        r"ambiguous|another|as desired|broken?|breaks|cannot|conflicts?|denied|differ\w*|disable|empty|except|fail\w*|"
        r"fewer|instead|invalid|invisible|leaves?|left|lost|missing|neither|never|no|none|nor|not|nothing|offline|ok|old|only|"
        r"other|plain|previous|refus\w*|skip|too|un\w+|whatever|without|wrong"
    ),
    r"유지[하되]지 않": r"not kept",
    r"잘못되지 않": r"not (?:invalid|wrong)",
    r"알 수 없": r"unknown|not known|no readable|no place",
}
"""Korean term to English."""

OPPOSITES: Final = (
    ("비활성화", "활성화"),
    ("이전", "이후"),
    ("시작", "종료"),
    ("부터", "까지"),
    ("최대", "최소"),
    ("이상", "이하"),
    ("허용", "거부"),
    ("조회", "쓰기"),
    ("성공", "실패"),
    ("완료", "실패"),
    ("처음", "마지막"),
    ("첫", "마지막"),
    ("먼저", "나중에"),
    ("빠릅", "느립"),
    ("변경됨", "변경 없음"),
    ("추가", "제거"),
    ("추가", "삭제"),
    ("보호", "해제"),
    ("보류", "해제"),
    ("보류", "허용"),
    ("차단", "허용"),
    ("충돌", "완료"),
    ("확인됨", "미확인"),
    ("수락", "거절"),
    ("중지", "재개"),
    ("줄었", "늘었"),
    ("원하는 상태", "현재 상태"),
    ("변경", "유지"),
    ("등록", "해제"),
    ("거부", "보류"),
    ("차단", "보류"),
    ("충돌", "보류"),
    ("올바르", "잘못되"),
)
"""Korean words, one of which must not stand for the other."""

_PLACEHOLDER: Final = re.compile(r"(?<!\{)\{(\w+)(?:![rs])?(?::[^}]*)?\}(?!\})|%\((\w+)\)s")
_LITERAL: Final = re.compile(
    r"(?<![A-Za-z0-9{⟦-])-{0,2}[A-Za-z_][A-Za-z0-9_-]*(?:[.:/][A-Za-z0-9_-]+)*(?![A-Za-z0-9}⟧-])"
)
_TOKEN: Final = re.compile(rf"{_PLACEHOLDER.pattern}|[A-Za-z0-9_]+(?:[-.:/][A-Za-z0-9_]+)*")
_NAME: Final = 3
"""Words of the longest message that is a name."""


def _terms(terms: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w{{-])(?:{terms})(?![\w-])", re.IGNORECASE)


_KOREAN: Final = [(_terms(english), re.compile(korean)) for english, korean in KOREAN.items()]
_ENGLISH: Final = [(re.compile(korean), _terms(english)) for korean, english in ENGLISH.items()]


def problems(english: str, korean: str) -> list[str]:
    """Return the terms that only one of the texts names."""
    korean = _PLACEHOLDER.sub(lambda match: f"⟦{match[1] or match[2]}⟧", korean)
    alike = set(_LITERAL.findall(korean))
    english = _PLACEHOLDER.sub(lambda match: f"{{{match[1] or match[2]}}}", english)
    english = _LITERAL.sub(lambda match: "" if match[0] in alike else match[0], english)
    lost = [
        f"{term.pattern} without {words.pattern}"
        for term, words in _KOREAN
        if term.search(english) and not words.search(korean)
    ]
    added = [
        f"{word.pattern} without {terms.pattern}"
        for word, terms in _ENGLISH
        if word.search(korean) and not terms.search(english)
    ]
    return lost + added


def is_pinned(english: str, korean: str) -> bool:
    """Return True for the name of a term, for two words that have opposites, and for values in another order."""
    in_korean = _tokens(korean)
    in_english = [token for token in _tokens(english) if token in in_korean]
    is_name = len(english.split()) <= _NAME and any(term.search(english) for term, _ in _KOREAN)
    return is_name or in_english != in_korean or sum(1 for _ in _POLAR.finditer(korean)) > 1


def _tokens(text: str) -> list[str]:
    return [match[1] or match[2] or match[0] for match in _TOKEN.finditer(text)]


def placeholders(text: str) -> list[str]:
    """Return the placeholders of a message as written."""
    return [match[0] for match in _PLACEHOLDER.finditer(text)]


def occurrences(word: str, text: str) -> list[int]:
    """Return where a word of `OPPOSITES` occurs as a separate word."""
    return [match.start() for match in _POLAR.finditer(text) if match[0] == word]


_POLAR: Final = re.compile("|".join(sorted({word for pair in OPPOSITES for word in pair}, key=len, reverse=True)))
