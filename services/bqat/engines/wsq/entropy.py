"""Coefficients of a WSQ picture from its entropy-coded blocks.

Source:
    FBI, IAFIS-IC-0110, table of symbols: 1 to 100 are runs of zeros, 101 to 104 are followed by a
    magnitude of 8 or 16 bits, 105 and 106 by a run of 8 or 16 bits, 107 to 254 are the values -73
    to 74.
"""

import numpy as np
from numpy.typing import NDArray

from services.bqat.engines.wsq.container import Block, Damaged

_LONGEST_SHORT_RUN, _FIRST_VALUE, _LAST_VALUE, _ZERO_VALUE = 100, 107, 254, 180
_PLUS_8, _MINUS_8, _PLUS_16, _MINUS_16, _RUN_8, _RUN_16 = range(101, 107)
_EXTRA_BITS = {_PLUS_8: 8, _MINUS_8: 8, _PLUS_16: 16, _MINUS_16: 16, _RUN_8: 8, _RUN_16: 16}


def decode_blocks(blocks: list[Block], count: int) -> NDArray[np.int32]:
    """The `count` coefficients of all blocks; what they do not reach is zero.

    Raises:
        Damaged: there are more of them.
    """
    found = np.zeros(count, np.int32)
    at = 0
    for block in blocks:
        at = _decode(block, found, at)
    return found


def _decode(block: Block, found: NDArray[np.int32], at: int) -> int:
    """Write one block's coefficients from place `at`; returns the place behind them."""
    data = np.frombuffer(block.data + b"\0\0\0\0", np.uint8).astype(np.uint32)
    # The 24 bits from each byte on: whatever bit a code begins with, its 16 bits are inside.
    windows = ((data[:-2] << 16) | (data[1:-1] << 8) | data[2:]).tolist()
    lengths, symbols = block.table.lengths, block.table.symbols
    bits, bit = 8 * len(block.data), 0
    values: list[tuple[int, int]] = []
    limit = len(found)
    while bit < bits:
        code = (windows[bit >> 3] >> (8 - (bit & 7))) & 0xFFFF
        length = lengths[code]
        if length == 0 or bit + length > bits:
            # The last byte is filled with ones, which are no code.
            break
        symbol = symbols[code]
        bit += length
        if symbol <= _LONGEST_SHORT_RUN:
            if symbol == 0:
                raise Damaged("a run of zeros is empty")
            at += symbol
        elif symbol >= _FIRST_VALUE:
            if symbol > _LAST_VALUE:
                raise Damaged("a symbol is unknown")
            values.append((at, symbol - _ZERO_VALUE))
            at += 1
        else:
            extra = _EXTRA_BITS[symbol]
            if bit + extra > bits:
                raise Damaged("it is cut short")
            number = (windows[bit >> 3] >> (24 - (bit & 7) - extra)) & ((1 << extra) - 1)
            bit += extra
            if symbol in (_RUN_8, _RUN_16):
                at += number
            else:
                values.append((at, number if symbol in (_PLUS_8, _PLUS_16) else -number))
                at += 1
        if at > limit:
            raise Damaged("it holds more coefficients than pixels")
    if values:
        places, figures = np.array(values, np.int64).T
        found[places] = figures
    return at
