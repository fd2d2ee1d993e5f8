"""The date that chat templates see. Some templates write today's date into every prompt (Llama 3, gpt-oss, Mistral).

Invariant: for a policy it is always FROZEN_DATE. A prompt therefore never depends on the day, and neither do stored results.
"""

from __future__ import annotations

FROZEN_DATE = "2024-07-26"
"""The date that Llama 3's template writes where it has no clock. If you change it, raise `template.FORMAT_VERSION`."""
OTHER_DATE = "2019-02-03"
"""Another date, to find out whether a template writes the date."""
_DATES = {
    FROZEN_DATE: ("Fri", "Friday", "Jul", "July", "26", "26", "208", "07", "7", "24", "2024"),
    OTHER_DATE: ("Sun", "Sunday", "Feb", "February", "03", "3", "034", "02", "2", "19", "2019"),
}
_DATE_DIRECTIVES = ("a", "A", "b", "B", "d", "-d", "j", "m", "-m", "y", "Y")
_TIME = {"H": "12", "I": "12", "M": "00", "p": "PM", "S": "00", "z": "+0000", "Z": "UTC"}


def has_clock(template: str) -> bool:
    """Whether the template can ask for the time."""
    return "strftime_now" in template


def freeze_clock(template: str, date: str = FROZEN_DATE) -> str:
    """The template with its clock at noon of `date`; a template without a clock is returned as it is.

    The date is in the template itself, as a macro instead of transformers' function: every program that renders it writes the same text.
    """
    if not has_clock(template) or "macro strftime_now" in template:
        return template
    fields = dict(zip(_DATE_DIRECTIVES, _DATES[date], strict=True)) | _TIME
    fields |= {"F": date, "D": f"{fields['m']}/{fields['d']}/{fields['y']}", "T": "12:00:00"}
    replacements = "".join(f" | replace('%{directive}', '{value}')" for directive, value in fields.items())
    return "{%- macro strftime_now(format) -%}{{ format" + replacements + " }}{%- endmacro %}{{ '' }}" + template
