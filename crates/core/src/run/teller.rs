//! What whoever started a tool is told of its end: in words, or with `--json` in one JSON object. Every way
//! out of a tool leads through here, so that a machine finds that object at the end of each.

use crate::exit::{Exit, usage};
use crate::journal::print_json;
use crate::terminal::{self, complain, one_line, say};
use clap::Parser;
use clap::error::ErrorKind;
use serde_json::{Map, Value};
use std::ffi::OsString;

/// Tells how the tool has ended.
#[derive(Clone, Copy, Debug)]
pub struct Teller {
    tool: &'static str,
    json: bool,
}

impl Teller {
    /// For a command line, the program's name first. It may be a wrong one: `--json` counts all the same.
    pub fn new(tool: &'static str, words: &[OsString]) -> Self {
        let mut options = words.iter().skip(1).take_while(|word| *word != "--");
        Self {
            tool,
            json: options.any(|word| word == "--json"),
        }
    }

    /// One that knows no JSON.
    pub fn in_words(tool: &'static str) -> Self {
        Self { tool, json: false }
    }

    /// Whether a machine is told.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// The end, with a sentence about it: to standard output where all is well, else to standard error.
    pub fn ends(&self, exit: Exit, text: &str) -> Exit {
        match (exit, self.json) {
            (Exit::Done, false) => say(text),
            (Exit::Done, true) => {}
            _ => complain(self.tool, text),
        }
        self.object(exit, text, Value::Null)
    }

    /// For a machine only: the end, and the members of the object `more`.
    pub fn object(&self, exit: Exit, text: &str, more: Value) -> Exit {
        if self.json {
            print_json(&object(exit, text, more));
        }
        exit
    }

    /// For a person only: a line on standard output.
    pub fn say(&self, text: &str) {
        if !self.json {
            say(text);
        }
    }

    /// For both: a line on standard error.
    pub fn complain(&self, why: &str) {
        complain(self.tool, why);
    }

    /// The command line. An error: how the tool ends, which was said; why the command line is wrong was not.
    pub fn parse<A: Parser>(
        &self,
        words: impl IntoIterator<Item = OsString>,
    ) -> Result<A, Unparsed> {
        A::try_parse_from(words).map_err(|error| match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                Unparsed::Answered(self.ends(Exit::Done, &error.to_string()))
            }
            _ => Unparsed::Wrong(format!(
                "{}; see {} --help",
                one_line(&error.to_string()),
                self.tool
            )),
        })
    }
}

/// A command line without any work in it.
#[derive(Debug)]
pub enum Unparsed {
    /// It asked for help or the version, and has it.
    Answered(Exit),
    /// It is wrong; why, in one line.
    Wrong(String),
}

/// A whole tool around its work: reads the command line, answers `--help` and `--version`, and
/// tells in one line why the work failed.
pub fn run_tool<A: Parser>(
    tool: &'static str,
    work: impl FnOnce(&A, &Teller) -> anyhow::Result<Exit>,
) -> Exit {
    let words: Vec<OsString> = std::env::args_os().collect();
    let teller = Teller::new(tool, &words);
    let result = match teller.parse::<A>(words) {
        Ok(arguments) => work(&arguments, &teller),
        Err(Unparsed::Answered(exit)) => return exit,
        Err(Unparsed::Wrong(why)) => Err(usage(why)),
    };
    result.unwrap_or_else(|error| teller.ends(Exit::of(&error), &format!("{error:#}")))
}

fn object(exit: Exit, text: &str, more: Value) -> Value {
    let mut members = match more {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    members.insert("exit".to_owned(), (exit as u8).into());
    members.insert("message".to_owned(), text.trim_end().into());
    clean(Value::Object(members))
}

/// Without the control characters of whoever's words are in it.
fn clean(value: Value) -> Value {
    let text = |text: &str| {
        let lines: Vec<String> = text
            .split('\n')
            .map(|line| terminal::foreign(line, line.len()))
            .collect();
        lines.join("\n")
    };
    match value {
        Value::String(it) => Value::String(text(&it)),
        Value::Array(all) => Value::Array(all.into_iter().map(clean).collect()),
        Value::Object(members) => {
            let members = members.into_iter();
            Value::Object(members.map(|(name, it)| (text(&name), clean(it))).collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn teller(line: &str) -> Teller {
        let words: Vec<OsString> = line.split(' ').map(Into::into).collect();
        Teller::new("tool", &words)
    }

    #[test]
    fn a_wrong_command_line_with_json_is_answered_in_json() {
        for line in ["tool --json", "tool --frobnicate --json", "tool a b --json"] {
            assert!(teller(line).is_json(), "{line}");
        }
        for line in ["tool", "tool --jsonx", "tool -- --json", "--json"] {
            assert!(!teller(line).is_json(), "{line}");
        }
    }

    #[test]
    fn what_others_said_is_clean_in_it_wherever_it_stands() {
        let more = json!({"rows": [{"na\u{1b}me": "a\u{9b}2J"}], "did": "no\u{7}thing"});
        let expected = json!({
            "exit": 66, "message": "one\ntwo?", "rows": [{"na?me": "a?2J"}], "did": "no?thing",
        });
        assert_eq!(object(Exit::Failed, "one\ntwo\u{1b}\n", more), expected);
    }

    #[test]
    fn another_hosts_answer_does_not_say_how_this_tool_ends() {
        let more = json!({"exit": 0, "message": "done", "did": "added"});
        let expected = json!({"exit": 66, "message": "node102: gone", "did": "added"});
        assert_eq!(object(Exit::Failed, "node102: gone", more), expected);
    }
}
