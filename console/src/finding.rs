//! Findings of a program's `check` command.

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was found.
    pub what: String,
    /// What corrects it, a command where there is one; `None` if it is in order.
    pub remedy: Option<String>,
}

impl Finding {
    /// Something that is in order.
    pub fn good(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            remedy: None,
        }
    }

    /// Something to be corrected.
    pub fn bad(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            remedy: Some(remedy.into()),
        }
    }
}

/// The findings as text: those to be corrected with a `!`, and what corrects them in the next line.
pub fn report(findings: &[Finding]) -> String {
    let mut out = String::new();
    for finding in findings {
        match &finding.remedy {
            Some(remedy) => out.push_str(&format!("!  {}\n   {remedy}\n", finding.what)),
            None => out.push_str(&format!("ok {}\n", finding.what)),
        }
    }
    out
}
