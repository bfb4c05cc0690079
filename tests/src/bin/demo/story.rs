//! Telling what happens while it happens.

use std::time::{Duration, Instant};

use anyhow::Result;
use lab::{Node, wait_for};

/// Gives what is new since it was asked last.
pub type News<'a> = Box<dyn FnMut() -> Result<Vec<String>> + 'a>;

/// What several speakers say, with the seconds since it began.
pub struct Story<'a> {
    begun: Instant,
    speakers: Vec<(&'static str, News<'a>)>,
}

impl<'a> Story<'a> {
    pub fn begin(speakers: Vec<(&'static str, News<'a>)>) -> Self {
        Self {
            begun: Instant::now(),
            speakers,
        }
    }

    /// Tells on, until `look` has seen what is waited for.
    pub fn until(
        &mut self,
        what: &str,
        limit: Duration,
        mut look: impl FnMut() -> Result<()>,
    ) -> Result<()> {
        wait_for(what, limit, || {
            self.tell()?;
            look()
        })?;
        self.tell()
    }

    fn tell(&mut self) -> Result<()> {
        let after = self.begun.elapsed().as_secs_f64();
        for (who, news) in &mut self.speakers {
            for line in news()? {
                lab::say!("{after:7.1} s  {who:<7} | {line}");
            }
        }
        Ok(())
    }
}

/// The lines that a log on a host gets from now on, or what `pick` takes of them.
pub fn log_lines<'a>(
    node: &'a Node,
    name: &'a str,
    pick: fn(&str) -> Option<&str>,
) -> Result<News<'a>> {
    let mut seen = node.log(name)?.len();
    Ok(Box::new(move || {
        let text = node.log(name)?;
        let fresh = text.get(seen..).unwrap_or_default();
        // A line that is still being written is for the next look.
        let whole = fresh.rfind('\n').map_or(0, |end| end + 1);
        seen += whole;
        let picked = fresh[..whole].lines().filter_map(pick);
        Ok(picked.map(str::to_owned).collect())
    }))
}

/// What `look` sees, whenever it is something else than before.
pub fn changes<'a>(mut look: impl FnMut() -> Result<String> + 'a) -> News<'a> {
    let mut last = String::new();
    Box::new(move || {
        let seen = look()?;
        if seen == last {
            return Ok(Vec::new());
        }
        last.clone_from(&seen);
        Ok(vec![seen])
    })
}
