"""PixelMed's DicomSRValidator in a Java machine that stays warm, as a process of its own.

It compiles 6 MB of templates at its start, and again for every file that its own command is
given. Java handles signals that pytest's fault handler would take for crashes, so it does not
run inside of the tests. Reads paths, one a line, and answers each with one line of JSON:
what the validator says of the file.
"""

from __future__ import annotations

import json
import sys

JAR = "/usr/share/java/pixelmed.jar"
OPTIONS = (
    "-Djdk.xml.xpathTotalOpLimit=0",  # the compiled templates are beyond Java's limits
    "-Djdk.xml.xpathExprOpLimit=0",
    "-Djdk.xml.xpathExprGrpLimit=0",
    "-Djava.awt.headless=true",
)


def main() -> None:
    import jpype  # not above: the tests read JAR without it

    jpype.startJVM(*OPTIONS, classpath=[JAR])
    validator = jpype.JClass("com.pixelmed.validate.DicomSRValidator")()
    validator.setOptionCheckTemplateID(True)
    validator.setOptionCheckContentItemOrder(True)
    for line in sys.stdin:
        try:
            said = str(validator.validate(line.rstrip("\n")))
        except jpype.JException as error:
            said = f"{error}"
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
