"""Changes the library in one place at a time, all places in one build, and runs the tests that reach each.

    python3 scripts/mutation prepare --work DIR       # lists the mutants, writes them all into a copy, builds it
    python3 scripts/mutation cover --work DIR         # which tests reach which mutants, and what they take
    python3 scripts/mutation run --work DIR           # each mutant, with the tests that reach it, until one fails
    python3 scripts/mutation report --work DIR        # counts by file, and who survived

cargo-mutants (`cargo install cargo-mutants --locked`) lists the mutants; `rewriter` writes each of them behind a switch that
the variable MUTANT sets when a test starts. So there is one build and not one for each mutant. What the compiler refuses is
dropped, by its errors, until the rest compiles. `run` goes on where it was ended; `--only` chooses files by a part of
their names; `--again` runs those that survived, too, against the tests that they have not met: slower ones, or new ones.
After a change, `prepare` keeps the results of the mutants whose function is what it was, and `cover` runs the new tests
alone where the list of mutants is the same. How a test is judged: killers.py. DIR is outside the workspace and takes
about 3 GB.
"""

import argparse
import collections
import json
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import killers  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
MODULES = ("wal", "journal", "recovery", "checkpoint", "mirror", "state", "withdrawals")
# How many times the compiler may refuse more.
ROUNDS = 20

# Added to the copy's library: which mutant is on, and for COVERAGE what is reached.
SWITCH = """
use std::fs::File;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex};

static ID: LazyLock<u32> = LazyLock::new(|| std::env::var("MUTANT").ok().and_then(|n| n.parse().ok()).unwrap_or(0));
static SEEN: [AtomicBool; MUTANTS] = [const { AtomicBool::new(false) }; MUTANTS];
static FILE: LazyLock<Mutex<File>> = LazyLock::new(|| {
    Mutex::new(File::options().create(true).append(true).open(std::env::var("COVERAGE").unwrap()).unwrap())
});

#[inline]
pub(crate) fn at(ids: &[u32]) -> u32 {
    if *ID == u32::MAX {
        cover(ids);
    }
    *ID
}

#[cold]
fn cover(ids: &[u32]) {
    for &id in ids {
        if !SEEN[id as usize].swap(true, Ordering::Relaxed) {
            FILE.lock().unwrap().write_all(format!("{id}\\n").as_bytes()).unwrap();
        }
    }
}
"""
# What a mutant may be and code that people write may not.
ALLOWED = "#![allow(warnings, arithmetic_overflow, unconditional_panic, overflowing_literals, clippy::all)]\n"
PROFILE = "\n[profile.dev.package.ledger-core]\nopt-level = 2\ndebug = false\n"


def path(arguments, name):
    return os.path.join(arguments.work, name)


def read(name):
    with open(name) as source:
        return source.read()


def write(name, text):
    with open(name, "w") as out:
        out.write(text)


def mutants(arguments):
    """The list, by number."""
    return dict(enumerate(json.loads(read(path(arguments, "list.json"))), 1))


def refused(arguments):
    """Mutants that cannot be expressed, by reason."""
    inexpressible = json.loads(read(path(arguments, "inexpressible.json")))
    return {**inexpressible, "compiler": [int(word) for word in read(path(arguments, "dropped")).split()]}


def places(arguments):
    """The numbers of the mutants by what they change in which function, as it is written."""
    found, sources, alike = {}, {}, collections.Counter()
    for number, what in mutants(arguments).items():
        file, at = what["file"], what["span"]["start"]
        lines = sources.setdefault(file, read(path(arguments, f"from/{file}")).splitlines())
        function = what["function"] or {"function_name": "", "span": what["span"]}
        start, end = (function["span"][side]["line"] for side in ("start", "end"))
        text = "\n".join(lines[start - 1:end])
        place = (file, function["function_name"], text, what["genre"], what["replacement"], at["line"] - start, at["column"])
        # Two functions that are written alike have their mutants in the same order.
        found[place, alike[place]] = number
        alike[place] += 1
    return found


def prepare(arguments):
    """Two copies of what is committed: one to read from, one with all mutants."""
    is_first = not os.path.exists(path(arguments, "results.jsonl"))
    before, results = ({}, {}) if is_first else (places(arguments), killers.results(arguments.work))
    for name in ("from", "to"):
        shutil.rmtree(path(arguments, name), ignore_errors=True)
        os.makedirs(path(arguments, name))
        archive = subprocess.Popen(["git", "archive", "HEAD"], cwd=ROOT, stdout=subprocess.PIPE)
        subprocess.run(["tar", "x", "-C", path(arguments, name)], stdin=archive.stdout, check=True)
    command = ["cargo", "mutants", "--list", "--json", "-p", "ledger-core", "-e", "**/tests/**", "-e", "**/tests.rs"]
    for module in MODULES:
        command += ["-f", f"ledger-core/src/{module}.rs", "-f", f"ledger-core/src/{module}/**"]
    listed = subprocess.run(command, cwd=path(arguments, "from"), stdout=subprocess.PIPE, text=True, check=True).stdout
    if not os.path.exists(path(arguments, "list.json")) or read(path(arguments, "list.json")) != listed:
        write(path(arguments, "list.json"), listed)
        write(path(arguments, "dropped"), "")
        write(path(arguments, "kept"), "")
        if os.path.exists(path(arguments, "killers.json")):
            os.remove(path(arguments, "killers.json"))
        now = places(arguments)
        kept = [dict(results[old], id=now[place], cover=0)
                for place, old in before.items() if old in results and place in now]
        write(path(arguments, "results.jsonl"), "".join(json.dumps(result) + "\n" for result in kept))
    library = path(arguments, "to/ledger-core/src/lib.rs")
    text = read(library)
    write(library, (ALLOWED + text).replace("\nmod ", "\nmod mutant;\nmod ", 1))
    write(path(arguments, "to/ledger-core/src/mutant.rs"), SWITCH.replace("MUTANTS", str(len(json.loads(listed)) + 1)))
    for name, change in (("Cargo.toml", lambda text: text + PROFILE),
                         ("ledger-core/Cargo.toml", lambda text: text.replace("[lints]\nworkspace = true\n", ""))):
        write(path(arguments, f"to/{name}"), change(read(path(arguments, f"to/{name}"))))
    build(arguments)


def cargo(arguments, *command):
    """Runs cargo in the copy with the mutants; its messages, and whether it was content."""
    done = subprocess.run(
        ["cargo", *command, "-p", "ledger-core", "--features", "sim", "--message-format=json"],
        cwd=path(arguments, "to"), env=dict(os.environ, CARGO_TARGET_DIR=path(arguments, "target")),
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")], done.returncode == 0


def build(arguments):
    """Drops what the compiler refuses, until it refuses no more, and builds the programs."""
    work = arguments.work
    rewriter = os.path.join(HERE, "rewriter", "Cargo.toml")
    for _ in range(ROUNDS):
        names = [os.path.join(work, name) for name in ("list.json", "from", "to", "dropped", "kept")]
        command = ["cargo", "run", "--quiet", "--locked", "--manifest-path", rewriter,
                   "--target-dir", path(arguments, "rewriter"), "--", *names]
        write(path(arguments, "inexpressible.json"),
              subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
        messages, content = cargo(arguments, "check", "--lib", "--profile", "test")
        if content:
            break
        dropped, kept = blamed(arguments, messages)
        if not dropped and not kept:
            errors = [m["message"]["rendered"] for m in messages if m.get("reason") == "compiler-message"]
            sys.exit("".join(errors[:5]) + "no mutant is to blame")
        print(f"the compiler refuses {len(dropped)} mutants", flush=True)
        write(path(arguments, "dropped"), read(path(arguments, "dropped")) + "\n".join(dropped) + "\n")
        write(path(arguments, "kept"), read(path(arguments, "kept")) + "\n".join(kept) + "\n")
    binaries = {}
    for command in (["build", "--bin", "simulate"], ["test", "--no-run", "--lib", "--test", "it"]):
        messages, content = cargo(arguments, *command)
        if not content:
            sys.exit(f"cargo {' '.join(command)} fails in {path(arguments, 'to')}")
        for message in messages:
            if message.get("executable"):
                name = message["target"]["name"]
                binaries["lib" if name == "ledger_core" else name] = message["executable"]
    write(path(arguments, "binaries.json"), json.dumps(binaries))


def blamed(arguments, messages):
    """The mutants that errors are about, and the functions that must stay constant."""
    dropped, kept = set(), set()
    for message in messages:
        error = message.get("message", {})
        if message.get("reason") != "compiler-message" or error["level"] != "error":
            continue
        code = (error.get("code") or {}).get("code")
        spans = sorted(spans_of(error), key=lambda span: not span["is_primary"])
        if code == "E0015":  # A constant calls what is constant no more.
            kept |= {re.sub(r"::<.*", "", name).split("::")[-1] for name in re.findall("`([^`]*)`", error["message"])}
        elif code == "E0004":  # A match that has lost an arm to a guard.
            dropped |= guards_after(path(arguments, "to"), spans[0])
        else:
            around = (mutant_around(path(arguments, "to"), span) for span in spans)
            dropped |= {next(filter(None, around), "")} - {""}
    return dropped, kept


def spans_of(error):
    for span in error["spans"]:
        while span:
            yield span
            span = (span.get("expansion") or {}).get("span")
    for child in error["children"]:
        yield from spans_of(child)


def bytes_of(root, span):
    name = os.path.join(root, span["file_name"])
    if not os.path.exists(name):
        return b""
    with open(name, "rb") as source:
        return source.read()


def mutant_around(root, span):
    """The innermost mutant whose replacement the span is in."""
    text, found = bytes_of(root, span), None
    for start in re.finditer(rb"/\*<(\d+)\*/", text[: span["byte_start"] + 12]):
        end = text.find(b"/*>" + start.group(1) + b"*/", start.end())
        if start.start() <= span["byte_start"] and end >= span["byte_end"]:
            found = start.group(1).decode()
    return found


def guards_after(root, span):
    """The mutants that take an arm from the match on what is at the span."""
    text = bytes_of(root, span)
    start = text.index(b"{", span["byte_end"])
    depth, end = 0, start
    while end < len(text):
        depth += (text[end:end + 1] == b"{") - (text[end:end + 1] == b"}")
        if depth == 0:
            break
        end += 1
    return {found.decode() for found in re.findall(rb" if /\*<(\d+)\*/", text[start:end])}


def binaries(arguments):
    return json.loads(read(path(arguments, "binaries.json")))


def cover(arguments):
    killers.cover(arguments.work, binaries(arguments), arguments.seeds, arguments.longest, arguments.jobs,
                  arguments.tests or [""])


def run(arguments):
    left_out = {mutant for reason in refused(arguments).values() for mutant in reason}
    chosen = [mutant for mutant, what in mutants(arguments).items()
              if mutant not in left_out and any(part in what["file"] for part in arguments.only or [""])]
    killers.run_all(arguments.work, binaries(arguments), chosen, arguments.seeds, arguments.longest, arguments.jobs,
                    arguments.again)


def report(arguments):
    listed, results = mutants(arguments), killers.results(arguments.work)
    why_not = {mutant: reason for reason, left_out in refused(arguments).items() for mutant in left_out}
    counts = collections.defaultdict(collections.Counter)
    for mutant, what in listed.items():
        result = results.get(mutant)
        by = (result or {}).get("by")
        fate = ("not expressed" if mutant in why_not else "not run" if result is None
                else {"simulate": "simulator", "lib": "unit", "it": "whole"}[by.split()[0]] if by
                else "not reached" if not result["reached"]
                else "survived, slow tests left out" if result["left_out"] else "survived")
        counts[what["file"]][fate] += 1
    fates = ("not expressed", "not run", "unit", "whole", "simulator", "survived, slow tests left out", "survived",
             "not reached")
    print("| file | mutants | " + " | ".join(fates) + " |")
    print("|" + " --- |" * (len(fates) + 2))
    for file, count in [*sorted(counts.items()), ("together", sum(counts.values(), collections.Counter()))]:
        name = file.removeprefix("ledger-core/src/")
        print(f"| `{name}` | {sum(count.values())} | " + " | ".join(str(count[fate]) for fate in fates) + " |")
    for mutant, result in sorted(results.items()):
        if not result["by"]:
            tests = f"; slow tests left out: {len(result['left_out'])}" if result["left_out"] else ""
            print(f"{mutant} {listed[mutant]['name']}{tests if result['reached'] else '; not reached'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["prepare", "cover", "run", "report"])
    parser.add_argument("--work", required=True, type=os.path.abspath, help="a directory for copies, builds and results")
    parser.add_argument("--only", action="append", help="a part of the names of the files whose mutants are run")
    parser.add_argument("--tests", action="append", help="a part of the names of the tests that `cover` runs")
    parser.add_argument("--again", action="store_true", help="run those too that survived, against what they have not met")
    parser.add_argument("--longest", type=float, default=1.0, help="leave out tests of more seconds of processor time")
    parser.add_argument("--seeds", type=int, default=30, help="of the simulator")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    arguments = parser.parse_args()
    os.makedirs(arguments.work, exist_ok=True)
    {"prepare": prepare, "cover": cover, "run": run, "report": report}[arguments.command](arguments)


if __name__ == "__main__":
    main()
