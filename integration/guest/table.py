#!/usr/bin/env python3
"""table.py TESTS RECORDS: what became of each test of a list, as the runner's records tell.

TESTS has a line for each, as `--list-tests` names them, without the module. RECORDS is a folder of the
runner's streams of events; of a test that ran more than once the latest run counts. Prints a line for each
suite, then what did not pass. Exits with 0 only if everything did.
"""

import json
import pathlib
import sys


def outcomes(folder):
    """What became of every test in the records: (when it began, seconds, "passed" or another word)."""
    found = {}
    for path in sorted(pathlib.Path(folder).glob("*.jsonl")):
        for line in path.read_text().splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue  # the end of a guest that was stopped
            if event["kind"] != "event" or "testID" not in event["payload"]:
                continue
            event = event["payload"]
            module, _, test = event["testID"].partition(".")
            if "(" not in test or module != "IntegrationTests":
                continue
            # The place in the source is the last part.
            test = test.rpartition("/")[0]
            now = event["instant"]["absolute"], event["instant"]["since1970"]
            kind = event["kind"]
            if kind == "testStarted":
                found[test] = now, None, "not ended"
            elif kind == "testSkipped":
                found[test] = now, 0, "skipped"
            elif kind == "issueRecorded" and not event["issue"].get("isKnown"):
                found[test] = found.get(test, (now,))[0], None, "failed"
            elif kind == "testEnded":
                began, _, word = found[test]
                word = "passed" if word == "not ended" else word
                found[test] = began, now[0] - began[0], word
    return found


def main(tests, folder):
    found = outcomes(folder)
    suites, wrong = {}, []
    for test in pathlib.Path(tests).read_text().split("\n")[:-1]:
        _, seconds, word = found.get(test, (None, None, "not run"))
        suite = suites.setdefault(test.rpartition("/")[0], [0, 0, 0])
        suite[0] += 1
        suite[1] += word == "passed"
        suite[2] += seconds or 0
        if word != "passed":
            wrong.append(f"{word}: {test}")
    print(f"{'suite':<32}{'tests':>6}{'passed':>8}{'s':>7}")
    suites = dict(sorted(suites.items()))
    suites["all"] = [sum(column) for column in zip(*suites.values())]
    for name, (count, passed, seconds) in suites.items():
        print(f"{name:<32}{count:>6}{passed:>8}{seconds:>7.0f}")
    for line in sorted(wrong):
        print(line)
    return 1 if wrong or not suites["all"][0] else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
