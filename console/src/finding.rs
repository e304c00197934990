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

/// Whether a process with these limits, the text of `/proc/PID/limits`, may open `wanted` files.
pub fn open_files(limits: &str, wanted: u64) -> Finding {
    let mut lines = limits.lines();
    let line = lines.find_map(|line| line.strip_prefix("Max open files"));
    let Some(soft) = line.and_then(|rest| rest.split_whitespace().next()) else {
        return Finding::good("the limit of open files cannot be read here");
    };
    let is_enough = soft
        .parse::<u64>()
        .map_or(soft == "unlimited", |limit| limit >= wanted);
    let what = format!("{soft} files may be open ({wanted} or more is good)");
    match is_enough {
        true => Finding::good(what),
        false => Finding::bad(
            what,
            format!("ulimit -n {wanted}   (systemd: LimitNOFILE={wanted})"),
        ),
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
