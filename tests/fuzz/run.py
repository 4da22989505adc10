"""`make fuzz`: coverage-guided fuzzing of sniffing, headers, EXIF, brands and ICC (atheris).

Arguments are libFuzzer's: folders of inputs, the first of which takes new ones, and options
(https://llvm.org/docs/LibFuzzer.html#options).
"""

import sys

import atheris

with atheris.instrument_imports(include=["image_poster"]):
    from support.fuzzing import check

if __name__ == "__main__":
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
