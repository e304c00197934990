//! Figures: a table for a person, a line of JSON each for a program.

use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;

#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// Its name, such as `relay.user_ns_per_receiver`.
    pub name: String,
    pub value: f64,
    pub unit: &'static str,
    /// How the relay sent audio, as its `--transmit` says; nothing where it sent none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transmit: Option<&'static str>,
    /// The goal, as `<= 80`; `None` for a figure that only serves as a comparison.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub met: Option<bool>,
}

/// The goal of a figure.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    AtMost(f64),
    Below(f64),
    AtLeast(f64),
    /// Nothing: it is there to compare with.
    None,
}

impl Figure {
    /// A figure held against its goal.
    pub fn new(name: &str, value: f64, unit: &'static str, goal: Goal) -> Self {
        let (text, met) = match goal {
            Goal::AtMost(limit) => (Some(format!("<= {limit}")), Some(value <= limit)),
            Goal::Below(limit) => (Some(format!("< {limit}")), Some(value < limit)),
            Goal::AtLeast(limit) => (Some(format!(">= {limit}")), Some(value >= limit)),
            Goal::None => (None, None),
        };
        Self {
            name: name.to_owned(),
            value,
            unit,
            transmit: None,
            goal: text,
            met,
        }
    }

    /// The same, of a relay that sent audio in this way.
    pub fn by(self, transmit: &'static str) -> Self {
        Self {
            transmit: Some(transmit),
            ..self
        }
    }

    /// The same, measured over the loopback interface beside one that was not: there to compare with.
    pub fn over_loopback(self) -> Self {
        Self {
            name: format!("{}.loopback", self.name),
            goal: None,
            met: None,
            ..self
        }
    }

    /// The figure as a row for a person.
    pub fn row(&self) -> String {
        let verdict = match self.met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        };
        let goal = self.goal.as_deref().unwrap_or("");
        let transmit = self.transmit.unwrap_or("");
        format!(
            "{:<54}{:>12.3} {:<10}{transmit:<8}{goal:>10}  {verdict}",
            self.name, self.value, self.unit
        )
    }
}

/// Writes figures, a line of JSON each.
pub fn write(file: &Path, figures: &[Figure]) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let lines: Vec<_> = figures
        .iter()
        .map(serde_json::to_string)
        .collect::<Result<_, _>>()?;
    fs::write(file, lines.join("\n") + "\n")
}

/// The middle of some values; the lower of the two middle ones when their number is even.
///
/// # Panics
///
/// When there are none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) / 2]
}
