"""Arithmetic in worked steps, digit by digit from the right. Decides no wording of questions."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Worked:
    """The steps of a calculation, a line each, and its result."""

    lines: tuple[str, ...]
    result: int

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def reversed_digits(number: int, *, least: int = 1) -> list[int]:
    """Ones first, padded with zeros to `least` digits."""
    return [int(digit) for digit in reversed(str(number).zfill(least))]


def add(a: int, b: int) -> Worked:
    count = max(len(str(a)), len(str(b)))
    left, right = reversed_digits(a, least=count), reversed_digits(b, least=count)
    lines, written, carry = [_setting(a, left, b, right)], [], 0
    for x, y in zip(left, right, strict=True):
        total = x + y + carry
        lines.append(f"{x} + {y} + {carry} = {total}, write {total % 10}, carry {total // 10}.")
        written.append(total % 10)
        carry = total // 10
    if carry:
        written.append(carry)
    return Worked((*lines, _reading(written, a + b)), a + b)


def subtract(a: int, b: int) -> Worked:
    """a - b; where b is larger, the two are turned around."""
    if a < b:
        turned = subtract(b, a)
        return Worked((f"{a} is less than {b}, so turn them around.", *turned.lines), a - b)
    left = reversed_digits(a)
    right = reversed_digits(b, least=len(left))
    lines, written, borrow = [_setting(a, left, b, right)], [], 0
    for x, y in zip(left, right, strict=True):
        difference = x - y - borrow
        wrapped = difference < 0
        step = f"{x} - {y} - {borrow} = {difference}, "
        lines.append(f"{step}{'add 10, ' * wrapped}write {difference % 10}, borrow {int(wrapped)}.")
        written.append(difference % 10)
        borrow = int(wrapped)
    return Worked((*lines, _reading(written, a - b)), a - b)


def multiply(a: int, b: int) -> Worked:
    """a * b for b below 100: by one digit at once, by two in parts."""
    if b < 10:
        return _multiply_by_digit(a, b)
    tens, ones = b // 10, b % 10
    by_tens = _multiply_by_digit(a, tens)
    if ones == 0:
        return Worked((*by_tens.lines, f"Times 10: {a * b}."), a * b)
    by_ones = _multiply_by_digit(a, ones)
    total = add(10 * by_tens.result, by_ones.result)
    first = f"First {a} x {tens}:"
    second = f"So {a} x {10 * tens} = {10 * by_tens.result}. Then {a} x {ones}:"
    third = f"Add {10 * by_tens.result} and {by_ones.result}:"
    return Worked((first, *by_tens.lines, second, *by_ones.lines, third, *total.lines), a * b)


def divide(a: int, b: int) -> Worked:
    """a // b for a b of one digit, from the left; the last line names the remainder."""
    lines, written, rest = [], [], 0
    for digit in str(a):
        part = 10 * rest + int(digit)
        lines.append(f"{part} / {b} = {part // b} rest {part % b}.")
        written.append(part // b)
        rest = part % b
    reading = f"{' '.join(map(str, written))} is {a // b}, rest {rest}."
    return Worked((*lines, reading), a // b)


def _multiply_by_digit(a: int, b: int) -> Worked:
    digits = reversed_digits(a)
    lines, written, carry = [f"{a} backwards: {' '.join(map(str, digits))}."], [], 0
    for digit in digits:
        total = digit * b + carry
        lines.append(f"{digit} x {b} + {carry} = {total}, write {total % 10}, carry {total // 10}.")
        written.append(total % 10)
        carry = total // 10
    if carry:
        written.append(carry)
    return Worked((*lines, _reading(written, a * b)), a * b)


def _setting(a: int, left: list[int], b: int, right: list[int]) -> str:
    return f"{a} backwards: {' '.join(map(str, left))}. {b} backwards: {' '.join(map(str, right))}."


def _reading(written: list[int], result: int) -> str:
    return f"{' '.join(map(str, written))} backwards is {result}."
