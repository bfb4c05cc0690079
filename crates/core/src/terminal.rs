//! Words to whoever started the tool. Nobody may be listening (`println!` would panic then): the
//! work is done, and the exit code tells.

use std::io::{self, Write};

/// To standard output; nothing for an empty text.
pub fn say(text: &str) {
    if !text.is_empty() {
        let _ = writeln!(io::stdout(), "{}", text.trim_end());
    }
}

/// To standard error: `TOOL: WHY`.
pub fn complain(tool: &str, why: &str) {
    let _ = writeln!(io::stderr(), "{tool}: {why}");
}

/// The argument parser's message without its hints and line breaks.
pub fn one_line(message: &str) -> String {
    let lines = message
        .lines()
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        .map(str::trim)
        .filter(|line| !line.is_empty());
    let joined = lines.collect::<Vec<_>>().join(" ");
    joined.strip_prefix("error: ").unwrap_or(&joined).to_owned()
}
