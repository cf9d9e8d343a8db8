"""Numbers of payment cards in a text. Yours."""

import re
import unicodedata

# Characters without a width, and blanks that Unicode counts as letters.
HIDDEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\ufe00-\ufe0f\ufeff\u20e3\U000e0000-\U000e0fff]"
)
# Digits with anything but letters between them: blanks, dashes, dots, line breaks.
DIGITS = re.compile(r"\d(?:[\W_]{0,8}\d){13,}")
# Visa, Mastercard and Maestro, American Express, Diners Club, JCB, Discover and UnionPay. A Visa
# number of 13 digits has not been issued for decades; order numbers and EAN codes have 13.
BRANDS = re.compile(
    r"4\d{15}(\d{3})?|5\d{15}|2[2-7]\d{14}|3[47]\d{13}|3[689]\d{12}|35\d{14}|6\d{15,18}"
)
MOST_GROUPS = 8  # a table of prices has more before it has the digits of a card


def has_card_number(text: str) -> bool:
    """Whether the text has a number that a card may have, however its digits are set apart.

    The last digit of a card is a check digit (Luhn), which nine of ten other numbers do not have.
    A number in four groups of four counts without it: a mistyped card is one too.
    """
    plain = HIDDEN.sub("", unicodedata.normalize("NFKC", text))
    return any(_is_in(re.findall(r"\d+", found[0])) for found in DIGITS.finditer(plain))


def _is_in(groups: list[str]) -> bool:
    groups = ["".join(str(unicodedata.decimal(digit)) for digit in group) for group in groups]
    if [len(group) for group in groups] == [4, 4, 4, 4] and BRANDS.fullmatch("".join(groups)):
        return True
    for first in range(len(groups)):
        number = ""
        for count, group in enumerate(groups[first:], 1):
            number += group
            if len(number) > 19:
                break
            is_written = count <= MOST_GROUPS or count == len(number)  # digit by digit
            if is_written and BRANDS.fullmatch(number) and _has_check_digit(number):
                return True
    return False


def _has_check_digit(number: str) -> bool:
    digits = [int(digit) for digit in reversed(number)]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0
