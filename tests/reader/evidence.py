"""Checks the signature of evidence, from docs/evidence.md and RFC 8032 alone.

Usage: evidence.py FILE [PUBLIC-KEY]. Ends with 0 if the signature is right, with 1 if it is not.
Needs nothing but Python itself.
"""

import hashlib
import re
import sys

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ENDS = {
    b"{": (b'"public_key": "', b'",\n    "value": "', b'"\n  }\n}\n'),
    b"E": (b"public key: ", b"\nsignature:  ", b"\n"),
    b"<": (b"public key: ", b"\nsignature:  ", b"</pre>\n</html>\n"),
}


def x_of(y, sign):
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - square) % P or (x == 0 and sign):
        raise ValueError("no point")
    return P - x if x & 1 != sign else x


def point(data):
    number = int.from_bytes(data, "little")
    y, sign = number & (2**255 - 1), number >> 255
    if y >= P:
        raise ValueError("no point")
    x = x_of(y, sign)
    return x, y, 1, x * y % P


def add(a, b):
    m, n = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    o, q = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    e, f, g, h = n - m, q - o, q + o, n + m
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(n, base):
    result = (0, 1, 1, 0)
    while n:
        if n & 1:
            result = add(result, base)
        base, n = add(base, base), n >> 1
    return result


def same(a, b):
    return not ((a[0] * b[2] - b[0] * a[2]) % P or (a[1] * b[2] - b[1] * a[2]) % P)


def is_right(public, message, signature):
    try:
        a, r = point(public), point(signature[:32])
    except ValueError:
        return False
    s = int.from_bytes(signature[32:], "little")
    if s >= L:
        return False
    y = 4 * pow(5, P - 2, P) % P
    base = point(y.to_bytes(32, "little"))
    k = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % L
    return same(times(s, base), add(r, times(k, a)))


def main():
    data = open(sys.argv[1], "rb").read()
    before, between, after = ENDS[data[:1]]
    end = re.compile(
        re.escape(before) + rb"([0-9a-f]{64})" + re.escape(between) + rb"([0-9a-f]{128})" + re.escape(after) + rb"\Z"
    ).search(data)
    if not end:
        return "no evidence"
    public, signature = (bytes.fromhex(part.decode()) for part in end.groups())
    digest = hashlib.sha256(data[: end.start(2)]).hexdigest()
    if not is_right(public, f"pagekeep evidence v1\n{digest}\n".encode(), signature):
        return "the signature is wrong"
    if len(sys.argv) > 2 and sys.argv[2] != public.hex():
        return "another key signed it"
    print("the signature is right, by", public.hex())
    return 0


sys.exit(main())
