//! The figures of the documents: one file, which benches make.
//!
//! A bench writes its figures as JSON lines. `confab-bench publish REPORT…` takes them into [`FILE`], as a range if the same figure is in
//! several reports, and into every place of the documents that names the figure:
//!
//! ```text
//! <!-- figure relay.knee_rooms -->595<!-- / -->
//! ```
//!
//! Readers see `595`. A test compares the documents with the file; `confab-bench capacity` takes its defaults from it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::figures::Figure;

/// The file, from the root of the project.
pub const FILE: &str = "docs/figures.json";

const BEGIN: &str = "<!-- figure ";
const NAMED: &str = " -->";
const END: &str = "<!-- / -->";
/// Digits of a value in the documents: what a bench repeats.
const DIGITS: i32 = 3;
/// Units of figures that are the same in each run: all digits are shown.
const COUNTED: [&str; 2] = ["bytes", "instructions"];

/// A measured figure: the lowest and the highest value of several runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Range {
    pub low: f64,
    pub high: f64,
    pub unit: String,
}

/// Measured figures by name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Measured(BTreeMap<String, Range>);

/// A document names a figure in a way that cannot be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadMark {
    #[error("`{0}` is no figure of {FILE}: measure it, or correct the name")]
    Unknown(String),
    #[error("after `{BEGIN}{0}` there is no `{END}` in the same line")]
    Open(String),
}

/// Figures cannot be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error("{path}: {error}", path = .path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("{path} is no report of a bench: {error}", path = .path.display())]
    Report {
        path: PathBuf,
        error: serde_json::Error,
    },
    #[error("{path}: {error}", path = .path.display())]
    Mark { path: PathBuf, error: BadMark },
}

/// Takes the figures of these reports into [`FILE`] and into the documents below `root`, the project's.
///
/// # Errors
///
/// A file cannot be read, written, or filled in. Documents before it may have been written.
pub fn publish(root: &Path, reports: &[PathBuf]) -> Result<(), PublishError> {
    let file = |path: &Path| {
        let path = path.to_owned();
        move |error| PublishError::File { path, error }
    };
    let report = |path: &Path| {
        let path = path.to_owned();
        move |error| PublishError::Report { path, error }
    };
    let mut taken = Vec::new();
    for path in reports {
        let text = fs::read_to_string(path).map_err(file(path))?;
        taken.push(read_report(&text).map_err(report(path))?);
    }
    let path = root.join(FILE);
    let text = fs::read_to_string(&path).map_err(file(&path))?;
    let mut measured: Measured = serde_json::from_str(&text).map_err(report(&path))?;
    measured.take(&taken);
    let text = serde_json::to_string_pretty(&measured).map_err(report(&path))?;
    fs::write(&path, text + "\n").map_err(file(&path))?;
    for path in documents(root).map_err(file(root))? {
        let old = fs::read_to_string(&path).map_err(file(&path))?;
        let new = measured.fill(&old);
        let new = new.map_err(|error| PublishError::Mark {
            path: path.clone(),
            error,
        })?;
        if new != old {
            fs::write(&path, new).map_err(file(&path))?;
        }
    }
    Ok(())
}

/// The documents of the project.
///
/// # Errors
///
/// The folder cannot be read.
pub fn documents(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut documents = vec![root.join("README.md")];
    for entry in fs::read_dir(root.join("docs"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "md") {
            documents.push(path);
        }
    }
    documents.sort();
    Ok(documents)
}

impl Measured {
    /// The figures of [`FILE`] as this program was built.
    ///
    /// # Panics
    ///
    /// If the file does not have its form: a test reads it.
    pub fn published() -> &'static Self {
        static PUBLISHED: LazyLock<Measured> = LazyLock::new(|| {
            let text = include_str!("../../docs/figures.json");
            serde_json::from_str(text).expect("the file of figures is JSON, as a test checks")
        });
        &PUBLISHED
    }

    /// The middle of a figure's range.
    ///
    /// # Panics
    ///
    /// If there is no such figure: names are in the source.
    pub fn value(&self, name: &str) -> f64 {
        let range = self.0.get(name);
        let range = range.unwrap_or_else(|| panic!("{name} is no figure of {FILE}"));
        (range.low + range.high) / 2.0
    }

    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Replaces the figures that are in these reports, each by its range over them.
    pub fn take(&mut self, reports: &[Vec<ReportedFigure>]) {
        let mut taken: BTreeMap<String, Range> = BTreeMap::new();
        for figure in reports.iter().flatten() {
            let one = Range {
                low: figure.value,
                high: figure.value,
                unit: figure.unit.clone(),
            };
            taken
                .entry(figure.name.clone())
                .and_modify(|range| {
                    range.low = range.low.min(figure.value);
                    range.high = range.high.max(figure.value);
                })
                .or_insert(one);
        }
        self.0.append(&mut taken);
    }

    /// A document with the present value in each place that names a figure.
    ///
    /// # Errors
    ///
    /// A place cannot be filled in.
    pub fn fill(&self, document: &str) -> Result<String, BadMark> {
        let mut out = String::with_capacity(document.len());
        let mut rest = document;
        while let Some((before, marked)) = rest.split_once(BEGIN) {
            let line = marked.split('\n').next().unwrap_or_default();
            let open = || BadMark::Open(line.chars().take(40).collect());
            let (name, after) = marked.split_once(NAMED).ok_or_else(open)?;
            let (old, after) = after.split_once(END).ok_or_else(open)?;
            if name.contains('\n') || old.contains('\n') {
                return Err(open());
            }
            let range = self.0.get(name);
            let range = range.ok_or_else(|| BadMark::Unknown(name.to_owned()))?;
            out.push_str(before);
            out.push_str(&format!("{BEGIN}{name}{NAMED}{}{END}", range.shown()));
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }
}

impl Range {
    /// The range, in three digits unless it was counted: one value if its ends are the same in these.
    fn shown(&self) -> String {
        let is_counted = COUNTED.contains(&self.unit.as_str());
        let shown = |value: f64| match is_counted {
            true => grouped(&format!("{:.0}", value)),
            false => shown(value),
        };
        let (low, high) = (shown(self.low), shown(self.high));
        match low == high {
            true => low,
            false => format!("{low} to {high}"),
        }
    }
}

/// A value in three digits, those of large numbers in groups.
fn shown(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let is_whole = value.fract() == 0.0;
    let magnitude = value.abs().log10().floor() as i32;
    let decimals = DIGITS - 1 - magnitude;
    let scale = 10_f64.powi(decimals);
    let rounded = (value * scale).round() / scale;
    match usize::try_from(decimals) {
        Ok(places) if places > 0 && !is_whole => format!("{rounded:.places$}"),
        _ => grouped(&format!("{rounded:.0}")),
    }
}

/// A whole number, in groups of three digits if there are five or more.
fn grouped(digits: &str) -> String {
    if digits.len() < 5 {
        return digits.to_owned();
    }
    let first = digits.len() % 3;
    let mut groups = vec![&digits[..first]];
    let rest = digits.as_bytes()[first..].chunks(3);
    groups.extend(rest.map(|group| std::str::from_utf8(group).unwrap_or_default()));
    groups.retain(|group| !group.is_empty());
    groups.join(" ")
}

/// A figure of a report.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ReportedFigure {
    name: String,
    value: f64,
    unit: String,
}

/// Reads a report: JSON lines, as [`figures::write`](crate::figures::write) makes them.
///
/// # Errors
///
/// A line is no figure.
pub fn read_report(text: &str) -> Result<Vec<ReportedFigure>, serde_json::Error> {
    text.lines().map(serde_json::from_str).collect()
}

impl From<&Figure> for ReportedFigure {
    fn from(figure: &Figure) -> Self {
        Self {
            name: figure.name.clone(),
            value: figure.value,
            unit: figure.unit.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(figures: &[(&str, f64)]) -> Vec<ReportedFigure> {
        let lines: Vec<String> = figures
            .iter()
            .map(|(name, value)| {
                format!(r#"{{"name":"{name}","value":{value},"unit":"us","goal":"<= 5"}}"#)
            })
            .collect();
        read_report(&lines.join("\n")).unwrap()
    }

    #[test]
    fn a_document_gets_the_range_over_the_reports_that_were_given_last() {
        let mut measured = Measured::default();
        measured.take(&[report(&[("a.b", 1.0), ("c", 7.0)])]);
        measured.take(&[report(&[("a.b", 26.61)]), report(&[("a.b", 48.2)])]);
        let old = "| a.b | <!-- figure a.b -->1<!-- / --> ns, of <!-- figure c -->?<!-- / --> |";
        let new = "| a.b | <!-- figure a.b -->26.6 to 48.2<!-- / --> ns, of <!-- figure c -->7<!-- / --> |";
        assert_eq!(measured.fill(old).as_deref(), Ok(new));
        assert_eq!(measured.fill(new).as_deref(), Ok(new));
        assert!((measured.value("a.b") - 37.405).abs() < 1e-9);
        let unknown = measured.fill("<!-- figure d -->1<!-- / -->");
        assert_eq!(unknown, Err(BadMark::Unknown("d".to_owned())));
        for open in ["<!-- figure c -->1\n<!-- / -->", "<!-- figure c"] {
            assert!(
                matches!(measured.fill(open), Err(BadMark::Open(_))),
                "{open}"
            );
        }
    }

    #[test]
    fn a_value_has_three_digits_unless_it_was_counted() {
        let counted = Range {
            low: 470_442.0,
            high: 470_442.0,
            unit: "instructions".to_owned(),
        };
        assert_eq!(counted.shown(), "470 442");
        for (value, text) in [
            (0.0, "0"),
            (0.0035, "0.00350"),
            (0.85, "0.850"),
            (0.9458, "0.946"),
            (1.0, "1"),
            (2.354, "2.35"),
            (57.04, "57.0"),
            (57.0, "57"),
            (4.398, "4.40"),
            (595.0, "595"),
            (1178.3, "1180"),
            (1178.0, "1180"),
            (22_309.0, "22 300"),
            (470_442.0, "470 000"),
            (-2.7189, "-2.72"),
        ] {
            assert_eq!(shown(value), text);
        }
    }
}
