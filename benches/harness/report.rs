//! The figures of all rounds, step by step: minimum and median, and Pagekeep's ratio to the floor.
//!
//! On a busy machine the minimum is the figure to trust, and CPU time before wall time.

use super::rounds::Step;

/// Who ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Floor,
    Pagekeep,
}

impl Who {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Pagekeep => "pagekeep",
        }
    }
}

/// One run of one step.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub step: Step,
    pub who: Who,
    pub wall: f64,
    pub cpu: f64,
    pub peak: u64,
    /// Bytes added to the repository, in steps that store something.
    pub stored: Option<u64>,
}

/// The rows of one step and one program, summed up.
struct Summary {
    wall: (f64, f64),
    cpu: (f64, f64),
    peak: f64,
    stored: Option<f64>,
}

impl Summary {
    fn of(samples: &[Sample], step: Step, who: Who) -> Option<Self> {
        let runs = || samples.iter().filter(move |s| s.step == step && s.who == who);
        runs().next()?;
        let stored: Vec<f64> = runs().filter_map(|s| s.stored).map(|b| b as f64).collect();
        Some(Self {
            wall: min_median(runs().map(|s| s.wall)),
            cpu: min_median(runs().map(|s| s.cpu)),
            peak: runs().map(|s| s.peak).max().unwrap_or(0) as f64,
            stored: (!stored.is_empty()).then(|| min_median(stored.into_iter()).1),
        })
    }
}

fn min_median(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    (values[0], values[values.len() / 2])
}

/// Prints the table.
pub fn print(samples: &[Sample]) {
    println!(
        "\n{:<15}{:<10}{:>10}{:>10}{:>10}{:>10}{:>10}{:>15}",
        "step", "", "wall min", "median", "CPU min", "median", "peak MiB", "stored bytes"
    );
    for step in Step::ALL {
        let floor = Summary::of(samples, step, Who::Floor);
        let pagekeep = Summary::of(samples, step, Who::Pagekeep);
        let mut label = step.name();
        for (who, summary) in [(Who::Floor, &floor), (Who::Pagekeep, &pagekeep)] {
            let Some(s) = summary else { continue };
            println!(
                "{label:<15}{:<10}{:>10.3}{:>10.3}{:>10.3}{:>10.3}{:>10.1}{:>15}",
                who.name(),
                s.wall.0,
                s.wall.1,
                s.cpu.0,
                s.cpu.1,
                s.peak / f64::from(1 << 20),
                s.stored.map_or(String::new(), |bytes| format!("{bytes:.0}")),
            );
            label = "";
        }
        if let (Some(f), Some(p)) = (floor, pagekeep) {
            let stored = match (f.stored, p.stored) {
                (Some(f), Some(p)) if f > 0.0 => format!("{:.3}", p / f),
                _ => String::new(),
            };
            println!(
                "{:<15}{:<10}{:>10.2}{:>10.2}{:>10.2}{:>10.2}{:>10.1}{:>15}",
                "",
                "ratio",
                p.wall.0 / f.wall.0,
                p.wall.1 / f.wall.1,
                p.cpu.0 / f.cpu.0,
                p.cpu.1 / f.cpu.1,
                p.peak / f.peak,
                stored,
            );
        }
    }
}
