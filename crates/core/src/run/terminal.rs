//! Words to whoever started the tool. Nobody may be listening (`println!` would panic then): the
//! work is done, and the exit code tells.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, Write};
use std::os::fd::AsFd as _;

/// To standard output, without control characters but the ends of its lines; nothing for an empty text.
pub fn say(text: &str) {
    if !text.is_empty() {
        let lines: Vec<String> = text
            .trim_end()
            .lines()
            .map(|line| foreign(line, line.len()))
            .collect();
        let _ = writeln!(io::stdout(), "{}", lines.join("\n"));
    }
}

/// Whether anybody may still read what is said: not once the other end of a pipe is closed.
pub fn is_heard() -> bool {
    let stdout = io::stdout();
    let mut asked = [PollFd::new(stdout.as_fd(), PollFlags::POLLOUT)];
    match poll(&mut asked, PollTimeout::ZERO) {
        Ok(_) => !asked[0]
            .revents()
            .is_some_and(|it| it.contains(PollFlags::POLLERR)),
        Err(_) => true,
    }
}

/// To standard error: `TOOL: WHY`, on one line and without control characters, whoever's words
/// the reason quotes.
pub fn complain(tool: &str, why: &str) {
    let _ = writeln!(io::stderr(), "{tool}: {}", printable(why));
}

/// `text` with a blank for each line end and a `?` for each other control character.
pub fn printable(text: &str) -> String {
    foreign(text.trim_end(), text.len())
}

/// The one way by which words that are not ours get into a log, onto a terminal or into JSON: they begin no
/// line of their own, hold no escape sequence, and of more than `most` characters it is said that they were
/// cut.
pub fn foreign(text: &str, most: usize) -> String {
    let shown = |c: char| match c {
        '\n' | '\r' | '\t' => ' ',
        // The latter two begin lines, too, where a log is shown.
        c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => '?',
        c => c,
    };
    let mut rest = text.chars();
    let mut clean: String = rest.by_ref().take(most).map(shown).collect();
    let cut = rest.count();
    if cut > 0 {
        clean.push_str(&format!("... ({cut} more characters)"));
    }
    clean
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_no_orders() {
        assert_eq!(printable("a\nb\u{1b}[2Jä\n"), "a b?[2Jä");
    }
}
