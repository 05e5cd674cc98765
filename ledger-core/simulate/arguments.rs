//! What the simulator is told on the command line.

use std::path::PathBuf;

use ledger_core::sim::PlantedBug;

pub(crate) const USAGE: &str = "\
usage: simulate [--seeds N] [--seed S] [--jobs J] [--seconds T] [--resume] [--state FILE]
       simulate --seed S [--planted BUG] --trace
       simulate --planted all|BUG

  --seeds N       run N seeds (default 1000), beginning with S
  --seed S        the first seed (default 1)
  --jobs J        on J threads (default: as many as there are cores)
  --seconds T     begin no new seeds after T seconds
  --resume        go on where the state file says that the last run stopped
  --state FILE    the state file (default target/simulate.state)
  --trace         run seed S alone, twice, and print all that happens
  --planted BUG   run the ledger with a bug planted, until a check that looks for what it breaks catches it
  --images N      fail if fewer than N crash images were opened
  --cells N       fail if fewer than N cells of the coverage table were hit
";

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Arguments {
    pub(crate) seeds: u64,
    pub(crate) seed: u64,
    pub(crate) jobs: usize,
    pub(crate) seconds: Option<u64>,
    pub(crate) resume: bool,
    pub(crate) state: PathBuf,
    pub(crate) trace: bool,
    pub(crate) images_min: u64,
    pub(crate) cells_min: u64,
    pub(crate) planted: Vec<PlantedBug>,
}

impl Arguments {
    /// # Errors
    /// What is wrong with which word.
    pub(crate) fn read(words: impl IntoIterator<Item = String>) -> Result<Arguments, String> {
        let mut arguments = Arguments {
            seeds: 1_000,
            seed: 1,
            jobs: std::thread::available_parallelism().map_or(1, usize::from),
            seconds: None,
            resume: false,
            state: PathBuf::from("target/simulate.state"),
            trace: false,
            images_min: 0,
            cells_min: 0,
            planted: Vec::new(),
        };
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--seeds" => arguments.seeds = number(&value()?)?,
                "--seed" => arguments.seed = number(&value()?)?,
                "--jobs" => arguments.jobs = number(&value()?)?.max(1) as usize,
                "--seconds" => arguments.seconds = Some(number(&value()?)?),
                "--images" => arguments.images_min = number(&value()?)?,
                "--cells" => arguments.cells_min = number(&value()?)?,
                "--state" => arguments.state = PathBuf::from(value()?),
                "--resume" => arguments.resume = true,
                "--trace" => arguments.trace = true,
                "--planted" => match value()?.as_str() {
                    "all" => arguments.planted = crate::planted::all(),
                    bug => arguments.planted.push(bug.parse()?),
                },
                _ => return Err(format!("{word:?} is not an option")),
            }
        }
        Ok(arguments)
    }
}

fn number(word: &str) -> Result<u64, String> {
    word.replace('_', "").parse().map_err(|_| format!("{word:?} is not a whole number"))
}
