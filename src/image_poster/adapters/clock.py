"""The machine's clock."""

import time


class SystemClock:
    """`Clock` by the machine's own."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000
