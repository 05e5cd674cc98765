"""A long run that can be broken off: how far it came is kept in a small file, and another one goes on from there."""

import json
import os


class Night:
    """Loops that are counted on disk, each as soon as it is over. Iterate over it for those that are still to be done."""

    def __init__(self, world, name):
        self.world = world
        self.file = os.path.join(world.states, f"{name}.json")
        self.state = {"seed": world.seed, "loops": 0, "nights": 1, "lost": []}
        if world.resumes and os.path.exists(self.file):
            with open(self.file) as text:
                self.state = json.load(text)
            assert self.state["seed"] == world.seed, f"{self.file} is of a night with the seed {self.state['seed']}"
            self.state["nights"] += 1
            world.lost += self.state["lost"]
            print(f"{name} goes on after {self.state['loops']} loops", flush=True)

    def __iter__(self):
        while self.state["loops"] < self.world.loops:
            yield self.state["loops"]

    def count(self, **counted):
        """Another loop is over, in which so much was counted."""
        self.state["loops"] += 1
        self.state["lost"] = self.world.lost
        for what, count in counted.items():
            self.state[what] = self.state.get(what, 0) + count
        os.makedirs(self.world.states, exist_ok=True)
        with open(self.file + ".new", "w") as text:
            json.dump(self.state, text)
        os.replace(self.file + ".new", self.file)

    def counts(self):
        return {what: count for what, count in self.state.items() if what not in ("seed", "lost")}
