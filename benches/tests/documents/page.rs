//! The blocks of commands of a page, and the script that they are.

use std::fmt;
use std::fmt::Write as _;
use std::path::Path;

/// A page of the documents.
pub struct Page {
    /// The file's name.
    pub name: String,
    pub blocks: Vec<Block>,
}

/// A block of commands.
pub struct Block {
    page: String,
    /// The line at which it begins, from 1.
    line: usize,
    /// `None` without a comment before it.
    pub mark: Option<Mark>,
    commands: Vec<String>,
}

/// What the comment before a block says.
pub enum Mark {
    Run {
        /// Commands before the block's own.
        before: Vec<String>,
    },
    NoRun {
        reason: String,
    },
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.page, self.line)
    }
}

impl Page {
    pub fn read(path: &Path) -> Self {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let mut blocks = Vec::new();
        let mut at = 0;
        while at < lines.len() {
            if lines[at] != "```sh" {
                at += 1;
                continue;
            }
            let end = (at + 1..lines.len())
                .find(|line| lines[*line] == "```")
                .unwrap();
            let owned = |lines: &[&str]| lines.iter().map(ToString::to_string).collect();
            blocks.push(Block {
                page: name.clone(),
                line: at + 1,
                mark: mark(&lines[..at]),
                commands: owned(&lines[at + 1..end]),
            });
            at = end + 1;
        }
        Self { name, blocks }
    }

    /// The shell script of the blocks that are run; `None` if there are none.
    pub fn script(&self) -> Option<String> {
        let mut script = String::new();
        for block in &self.blocks {
            if let Some(Mark::Run { before }) = &block.mark {
                for command in joined(before).iter().chain(&joined(&block.commands)) {
                    writeln!(script, "{}", line_of(block, command)).unwrap();
                }
            }
        }
        (!script.is_empty()).then_some(script)
    }
}

/// The comment that ends in the line before, or in the last one that is not empty.
fn mark(before: &[&str]) -> Option<Mark> {
    let end = before.iter().rposition(|line| !line.trim().is_empty())?;
    before[end].trim_end().strip_suffix("-->")?;
    let begin = before[..=end]
        .iter()
        .rposition(|line| line.starts_with("<!--"))?;
    let comment = before[begin..=end].join("\n");
    let comment = comment.strip_prefix("<!--")?.strip_suffix("-->")?.trim();
    if let Some(reason) = comment.strip_prefix("norun:") {
        let reason = reason.trim().to_owned();
        return Some(Mark::NoRun { reason });
    }
    let rest = comment.strip_prefix("run")?;
    let before = rest.lines().map(str::trim).filter(|line| !line.is_empty());
    Some(Mark::Run {
        before: before.map(str::to_owned).collect(),
    })
}

/// The commands, those of several lines in one.
fn joined(lines: &[String]) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in lines {
        match commands.last_mut() {
            Some(last) if goes_on => {
                last.push('\n');
                last.push_str(line);
            }
            _ => commands.push(line.clone()),
        }
        goes_on = line.trim_end().ends_with('\\');
    }
    commands.retain(|command| !command.trim().is_empty());
    commands
}

/// The command as a line of the script: what runs until it is ended is started, and waited for until it serves.
fn line_of(block: &Block, command: &str) -> String {
    let stays = [
        "confab-control serve",
        "confab-relay --control",
        "confab-relay --transmit",
    ]
    .iter()
    .any(|begin| command.starts_with(begin))
        && !command.contains("--print-config");
    let told = format!("told '{block}' {}", quoted(command));
    match stays {
        true => format!("{told}\nstay {}", without_comment(command)),
        false => format!("{told}\n{command}"),
    }
}

fn without_comment(command: &str) -> &str {
    command.split(" # ").next().unwrap_or(command).trim_end()
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> Page {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page.md");
        std::fs::write(&path, text).unwrap();
        Page::read(&path)
    }

    #[test]
    fn a_block_is_run_after_what_the_reader_has_already() {
        let page = page(
            "<!-- run\none\n-->\n```sh\ntwo \\\n  three   # why\nconfab-control serve   # until Ctrl-C\n```\n",
        );
        let script = page.script().unwrap();
        let lines: Vec<_> = script.lines().collect();
        assert_eq!(lines[1], "one");
        assert!(script.contains("\ntwo \\\n  three   # why\n"), "{script}");
        assert_eq!(lines.last(), Some(&"stay confab-control serve"));
    }

    #[test]
    fn a_comment_further_up_is_no_mark() {
        let page = page(
            "<!-- run -->\nText.\n\n```sh\none\n```\n\n<!-- norun: it takes a day -->\n\n```sh\ntwo\n```\n",
        );
        assert!(page.blocks[0].mark.is_none());
        assert!(matches!(page.blocks[1].mark, Some(Mark::NoRun { .. })));
        assert!(page.script().is_none());
    }
}
