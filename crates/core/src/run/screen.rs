//! What a person sees of a run that is at work: the lines of its log as they come, and below them how far
//! the step at work is. Where standard error is no terminal, only how far a long step is, now and then.
//!
//! A thread of its own writes it. A terminal can be stopped (Ctrl-S), and no run may wait for it.

use crate::deadline::Deadline;
use crate::workers;
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use nix::unistd::{getpgrp, tcgetpgrp};
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// A step that is over sooner is not shown.
const SHORT_STEP: Duration = Duration::from_millis(300);
/// How often the clock beside a step moves on.
const TICK: Duration = Duration::from_millis(200);
/// Where there is no terminal: between two lines, and before the first one. Of a long step the log has one
/// each ten seconds, and none of those may come too soon.
const SELDOM: Duration = Duration::from_secs(9);
/// What a run waits for its last lines to be shown.
const SETTLE_TIME: Duration = Duration::from_millis(300);

/// A step of which only its time is known. No character but ASCII: a terminal may have GBK.
const CLOCK: &str = "{spinner} {wide_msg} {elapsed}";
/// One of which the end is known, too.
const BAR: &str =
    "{msg} [{bar:25}] {percent:>3}% {binary_bytes}/{binary_total_bytes} {elapsed}{left}";
/// Begins the line anew, and empties it.
const ERASE: &[u8] = b"\r\x1b[K";

/// How far a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount {
    /// What is being done, in a word or two.
    pub label: &'static str,
    /// Bytes.
    pub done: u64,
    /// Bytes.
    pub total: u64,
}

/// What standard error can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A terminal: lines, and one more below them that changes.
    Bars,
    /// A terminal that has no way back to the beginning of a line: lines.
    Lines,
    /// No terminal: a line now and then, and only of what takes long.
    Seldom,
}

impl Kind {
    /// `None`: nothing is shown. A terminal stops whoever writes to it from the background, if it is set so.
    fn of_stderr() -> Option<Self> {
        let stderr = io::stderr();
        let terminal = stderr.is_terminal();
        let elsewhere = || tcgetpgrp(&stderr).is_ok_and(|group| group != getpgrp());
        match terminal {
            true if elsewhere() => None,
            true => Some(Self::of_terminal(std::env::var("TERM").ok().as_deref())),
            false => Some(Self::Seldom),
        }
    }

    fn of_terminal(name: Option<&str>) -> Self {
        match name {
            None | Some("" | "dumb") => Self::Lines,
            Some(_) => Self::Bars,
        }
    }
}

/// For the thread that writes.
#[derive(Debug)]
enum Shown {
    Line(String),
    Begun(String),
    At {
        text: String,
        amount: Option<Amount>,
        due: Option<String>,
    },
    Ended,
    /// All before it is shown.
    Settled(Sender<()>),
}

/// What a person sees.
#[derive(Debug)]
pub struct Screen {
    kind: Kind,
    to: Option<Sender<Shown>>,
    /// The last word on how far a step is has not been shown yet: the next one can be left out.
    waiting: Arc<AtomicBool>,
}

impl Screen {
    /// `None`: there is nobody to show it to.
    pub fn of_stderr() -> Option<Self> {
        Kind::of_stderr().map(|kind| Self {
            kind,
            to: None,
            waiting: Arc::default(),
        })
    }

    /// Whether each small step forward is worth a word.
    pub fn draws(&self) -> bool {
        self.kind == Kind::Bars
    }

    /// A line of the log.
    pub fn line(&mut self, line: &str) {
        if self.kind != Kind::Seldom {
            self.send(Shown::Line(line.to_owned()));
        }
    }

    /// A step that is at work from here on.
    pub fn begins(&mut self, what: &str) {
        if self.draws() {
            self.send(Shown::Begun(what.to_owned()));
        }
    }

    /// How far the step is; `due`: the log's line about it, where the log has one now.
    pub fn is_at(&mut self, text: &str, amount: Option<Amount>, due: Option<&str>) {
        let left_out = match self.draws() {
            true => self.waiting.swap(true, Ordering::AcqRel),
            false => due.is_none(),
        };
        if !left_out {
            self.send(Shown::At {
                text: text.to_owned(),
                amount,
                due: due.map(str::to_owned),
            });
        }
    }

    /// The step is over.
    pub fn ends(&mut self) {
        if self.draws() {
            self.send(Shown::Ended);
        }
    }

    /// Who has to be waited for until all of it is shown.
    pub fn settling(&mut self) -> Settling {
        let (tell, settled) = channel();
        if self.to.is_some() {
            self.send(Shown::Settled(tell));
        }
        Settling(settled)
    }

    fn send(&mut self, shown: Shown) {
        let (kind, waiting) = (self.kind, &self.waiting);
        let to = self.to.get_or_insert_with(|| {
            let (to, all) = channel();
            let mut view = View::new(kind, waiting.clone());
            workers::start(move || view.show(&all));
            to
        });
        // Without a thread nothing is shown.
        let _ = to.send(shown);
    }
}

/// What is not shown yet.
#[derive(Debug)]
pub struct Settling(Receiver<()>);

impl Settling {
    /// Waits until it is, but not for a terminal that is stopped.
    pub fn wait(self) {
        let _ = self.0.recv_timeout(SETTLE_TIME);
    }
}

/// What is on the screen below the lines.
struct View {
    kind: Kind,
    waiting: Arc<AtomicBool>,
    step: Option<(String, Instant)>,
    bar: Option<Bar>,
    next: Deadline,
}

/// The line that changes.
struct Bar {
    bar: ProgressBar,
    /// What it says the amount of; `None`: only the time is known.
    label: Option<&'static str>,
}

impl View {
    fn new(kind: Kind, waiting: Arc<AtomicBool>) -> Self {
        Self {
            kind,
            waiting,
            step: None,
            bar: None,
            next: Deadline::after(SELDOM),
        }
    }

    fn show(&mut self, all: &Receiver<Shown>) {
        loop {
            let next = match self.step.is_some() {
                true => all.recv_timeout(TICK),
                false => all.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match next {
                Ok(shown) => self.take(shown),
                Err(RecvTimeoutError::Timeout) => self.tick(),
                Err(RecvTimeoutError::Disconnected) => return self.clear(),
            }
        }
    }

    fn take(&mut self, shown: Shown) {
        match shown {
            Shown::Line(line) => self.print(&line),
            Shown::Begun(what) => {
                self.clear();
                self.step = Some((what, Instant::now()));
            }
            Shown::At { text, amount, due } => {
                self.waiting.store(false, Ordering::Release);
                self.is_at(text, amount, due.as_deref());
            }
            Shown::Ended => self.clear(),
            Shown::Settled(tell) => drop(tell.send(())),
        }
    }

    fn is_at(&mut self, text: String, amount: Option<Amount>, due: Option<&str>) {
        match (self.kind, due) {
            (Kind::Bars, _) => self.draw(text, amount),
            (Kind::Lines, Some(line)) => self.print(line),
            (Kind::Seldom, Some(line)) if self.next.passed() => {
                self.print(line);
                self.next = Deadline::after(SELDOM);
            }
            (Kind::Lines | Kind::Seldom, _) => {}
        }
    }

    fn print(&self, line: &str) {
        let print = || drop(writeln!(io::stderr(), "{line}"));
        match &self.bar {
            Some(it) => it.bar.suspend(print),
            None => print(),
        }
    }

    fn tick(&mut self) {
        match &self.bar {
            Some(it) => it.bar.tick(),
            None => {
                let what = self.step.as_ref().map(|(what, _)| what.clone());
                self.draw(what.unwrap_or_default(), None);
            }
        }
    }

    fn draw(&mut self, text: String, amount: Option<Amount>) {
        let Some((_, begun)) = self.step else { return };
        if begun.elapsed() < SHORT_STEP {
            return;
        }
        let label = amount.map(|it| it.label);
        let bar = match self.bar.take().filter(|it| it.label == label) {
            Some(bar) => bar,
            None => {
                let target = ProgressDrawTarget::stderr_with_hz(10);
                let total = amount.map(|it| it.total);
                let bar = ProgressBar::with_draw_target(total, target)
                    .with_elapsed(begun.elapsed())
                    .with_style(style(label))
                    .with_message(label.unwrap_or_default());
                Bar { bar, label }
            }
        };
        match amount {
            Some(amount) => {
                bar.bar.set_length(amount.total);
                bar.bar.set_position(amount.done);
            }
            None => bar.bar.set_message(text),
        }
        bar.bar.tick();
        self.bar = Some(bar);
    }

    fn clear(&mut self) {
        self.step = None;
        self.bar = None;
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style(label: Option<&str>) -> ProgressStyle {
    let style = ProgressStyle::with_template(match label {
        Some(_) => BAR,
        None => CLOCK,
    });
    let left = |state: &ProgressState, to: &mut dyn fmt::Write| {
        // Of the first moment nothing follows.
        let _ = match state.eta().as_secs() {
            0 => Ok(()),
            _ => write!(to, ", {:#} left", HumanDuration(state.eta())),
        };
    };
    style
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key("left", left)
        .tick_chars("|/-\\ ")
        .progress_chars("=> ")
}

/// After a run that a signal has ended: the line that it may have left half written is emptied.
pub fn leave() {
    if Kind::of_stderr() == Some(Kind::Bars) {
        let _ = io::stderr().write_all(ERASE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_without_a_name_gets_lines() {
        assert_eq!(Kind::of_terminal(None), Kind::Lines);
        assert_eq!(Kind::of_terminal(Some("dumb")), Kind::Lines);
        assert_eq!(Kind::of_terminal(Some("xterm-256color")), Kind::Bars);
    }

    #[test]
    fn both_styles_can_be_drawn() {
        for template in [CLOCK, BAR] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }

    fn screen(kind: Kind) -> (Screen, Receiver<Shown>) {
        let (to, all) = channel();
        let screen = Screen {
            kind,
            to: Some(to),
            waiting: Arc::default(),
        };
        (screen, all)
    }

    fn kinds_of(kind: Kind) -> usize {
        let (mut screen, all) = screen(kind);
        screen.line("a line");
        screen.begins("a step");
        screen.is_at("half", None, None);
        screen.is_at("nearly", None, Some("nearly"));
        screen.ends();
        all.try_iter().count()
    }

    #[test]
    fn without_a_terminal_only_what_the_log_has_of_a_long_step_is_shown() {
        // The second word on the same step finds the first one not shown yet.
        assert_eq!(kinds_of(Kind::Bars), 4);
        assert_eq!(kinds_of(Kind::Lines), 2);
        assert_eq!(kinds_of(Kind::Seldom), 1);
    }

    #[test]
    fn a_stopped_terminal_keeps_nobody() {
        let (mut screen, all) = screen(Kind::Bars);
        let begun = Instant::now();
        for _ in 0..10_000 {
            screen.is_at("half", None, None);
        }
        screen.settling().wait();
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert_eq!(all.try_iter().count(), 2);
    }
}
