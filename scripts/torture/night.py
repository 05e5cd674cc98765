"""A long run that can be broken off: how far it came is kept in a small file, and another one of the same program goes on from
there."""

import hashlib
import json
import os


class AnotherNight(Exception):
    """What is kept is of another program or another seed, and says nothing of this one."""


class Night:
    """Loops that are counted on disk, each as soon as it is over. Iterate over it for those that are still to be done."""

    def __init__(self, world, name):
        self.world = world
        self.file = os.path.join(world.states, f"{name}.json")
        self.state = {"seed": world.seed, "build": build(world.program), "loops": 0, "nights": 1, "lost": []}
        if world.resumes and os.path.exists(self.file):
            with open(self.file) as text:
                kept = json.load(text)
            if which(kept) != which(self.state):
                kept_is = f"{self.file} is of another night ({which(kept)}), and this is {which(self.state)}"
                raise AnotherNight(f"{kept_is}; remove it to begin anew")
            self.state = kept
            self.state["nights"] += 1
            world.lost += self.state["lost"]
            print(f"{name} goes on after {self.state['loops']} loops", flush=True)

    def __iter__(self):
        while self.state["loops"] < self.world.loops:
            yield self.state["loops"]

    def count(self, **counted):
        """Another loop is over, in which so much was counted."""
        if build(self.world.program) != self.state["build"]:
            raise AnotherNight(f"{self.world.program} was replaced by another build: its loops are not counted")
        self.state["loops"] += 1
        self.state["lost"] = self.world.lost
        for what, count in counted.items():
            self.state[what] = self.state.get(what, 0) + count
        os.makedirs(self.world.states, exist_ok=True)
        with open(self.file + ".new", "w") as text:
            json.dump(self.state, text)
        os.replace(self.file + ".new", self.file)

    def counts(self):
        return {what: count for what, count in self.state.items() if what not in ("seed", "build", "lost")}


def which(state):
    """Whose night it is."""
    return f"seed {state['seed']}, build {state.get('build', 'unknown')}"


def build(program):
    """Which build a program is: a hash of the file."""
    with open(program, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()[:16]
