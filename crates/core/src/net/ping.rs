//! ICMP echo with the host's `ping`: the trust IP, and signs of life.
//!
//! The scripts ran `ping -c 3 -w 2` and waited for its end: 2 s with the interval of 1 s that an
//! answering address does not need. Here the first answer ends it, some milliseconds after the
//! start.

use crate::arp::ProbeError;
use crate::deadline::Deadline;
use crate::process::{Background, Cmd, Output, Stream};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

/// Seconds between two packets: the least that an old `ping` allows to a plain user.
const INTERVAL: &str = "0.2";
/// Pause before a `ping` that gave up (`Network is unreachable` ends it at once) is started anew.
const RETRY: Duration = Duration::from_millis(200);
/// How often the running ones are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(3);
/// What an answer may take before `ping` itself is doubted.
const DOUBT: Duration = Duration::from_millis(100);
/// For an interrupted `ping` to print its summary.
const SUMMARY_TIME: Duration = Duration::from_millis(200);

/// The first of `addrs` to answer, all pinged side by side until `deadline`; `times` is the number
/// of packets per try (`PING_TIMES`). `None`: no answer from any of them in all that time, however
/// that came about (a network that is down, too). An error: `ping` does not work here (not even
/// this host itself answers it), and says nothing about the network.
pub fn first_answer(
    ping: &Path,
    addrs: &[IpAddr],
    times: u32,
    deadline: Deadline,
) -> Result<Option<IpAddr>, ProbeError> {
    let mut all = addrs
        .iter()
        .map(|addr| Pinger::start(ping, *addr, times, deadline))
        .collect::<Result<Vec<_>, _>>()?;
    // Does it work at all? Not asked where an answer comes at once, which is each minute's case.
    let mut works: Option<Pinger> = None;
    let mut complaint = None;
    let doubt = deadline.at_most(DOUBT);
    let found = deadline.poll(LOOK_INTERVAL, || {
        let mut one_ended = false;
        for pinger in &mut all {
            one_ended |= pinger.look().is_some();
            if pinger.answered {
                return Some(Ok(pinger.addr));
            }
            pinger.start_again_if_ended();
        }
        match &mut works {
            None if one_ended || doubt.passed() => {
                match Pinger::start(ping, Ipv4Addr::LOCALHOST.into(), times, deadline) {
                    Ok(pinger) => works = Some(pinger),
                    Err(error) => return Some(Err(error)),
                }
            }
            None => {}
            Some(pinger) => {
                if let Some(out) = pinger.look() {
                    complaint = complaint.take().or(Some(out.last_line().to_owned()));
                }
            }
        }
        None
    });
    all.iter().for_each(Pinger::interrupt);
    match (found, works, complaint) {
        (Some(found), _, _) => found.map(Some),
        (None, Some(works), Some(why)) if !works.answered => Err(ProbeError::CannotProbe {
            what: format!("{} (tried on this host itself)", works.command),
            why,
        }),
        _ => Ok(None),
    }
}

/// Whether `addr` answers within `window`. An error: no packet could be sent, or `ping` had
/// trouble sending them; that is no silence.
pub fn answers(ping: &Path, addr: IpAddr, window: Duration) -> Result<bool, ProbeError> {
    let deadline = Deadline::after(window);
    // One answer is enough: with a time limit (`-w`), `ping` goes on sending until it has it.
    let mut pinger = Pinger::start(ping, addr, 1, deadline)?;
    let ended = deadline.poll(LOOK_INTERVAL, || pinger.look());
    let out = match ended {
        Some(out) => out,
        None => pinger.summary(),
    };
    if pinger.answered {
        return Ok(true);
    }
    // Its complaints (`sendmsg: Operation not permitted`) go to standard error, what the network
    // answered (`Destination Host Unreachable`) to standard output.
    if !out.stderr.trim().is_empty() || packets_sent(&out.stdout).unwrap_or(0) == 0 {
        return Err(ProbeError::CannotProbe {
            what: format!("a ping to {addr}"),
            why: match out.last_line() {
                "" => format!("nothing was sent within {} ms", window.as_millis()),
                line => line.to_owned(),
            },
        });
    }
    Ok(false)
}

/// One address being pinged.
struct Pinger {
    addr: IpAddr,
    command: Cmd,
    /// `None` between an end and the next start.
    child: Option<Background>,
    answered: bool,
    retry: Deadline,
}

impl Pinger {
    fn start(
        ping: &Path,
        addr: IpAddr,
        times: u32,
        deadline: Deadline,
    ) -> Result<Self, ProbeError> {
        // Longer than the deadline: we end it. The limit is for the case that we are killed.
        let limit = deadline.remaining().as_secs() + 1;
        let command = Cmd::new(ping)
            .args(["-n", "-i", INTERVAL, "-c"])
            .arg(times.max(1).to_string())
            .args(["-w", &limit.to_string()])
            .arg(addr.to_string());
        let child = Background::spawn(&command).map_err(|error| ProbeError::CannotProbe {
            what: format!("a ping to {addr}"),
            why: error.to_string(),
        })?;
        Ok(Self {
            addr,
            command,
            child: Some(child),
            answered: false,
            retry: deadline,
        })
    }

    /// Reads what `ping` printed (it flushes each answer's line); its output if it has ended.
    fn look(&mut self) -> Option<Output> {
        let (addr, answered) = (self.addr, &mut self.answered);
        let out = self.child.as_mut()?.look(|stream, line| {
            *answered |= stream == Stream::Stdout && is_answer(line, addr);
        })?;
        self.child = None;
        self.retry = Deadline::after(RETRY);
        Some(out)
    }

    /// Ends it, for its output so far.
    fn summary(&mut self) -> Output {
        let Some(child) = self.child.take() else {
            return Output::default();
        };
        child.interrupt();
        let out = child
            .wait(Deadline::after(SUMMARY_TIME))
            .unwrap_or_default();
        self.answered |= out.stdout.lines().any(|line| is_answer(line, self.addr));
        out
    }

    fn start_again_if_ended(&mut self) {
        if self.child.is_none() && self.retry.passed() {
            // A failure to start is tried again like a failure to reach.
            self.child = Background::spawn(&self.command).ok();
            self.retry = Deadline::after(RETRY);
        }
    }

    fn interrupt(&self) {
        self.child.iter().for_each(Background::interrupt);
    }
}

/// `64 bytes from 192.168.1.1: icmp_seq=1 ttl=64 time=0.216 ms`.
pub(crate) fn is_answer(line: &str, addr: IpAddr) -> bool {
    let mut words = line.split_whitespace();
    words.next().is_some_and(|size| size.parse::<u32>().is_ok())
        && words.next() == Some("bytes")
        && words.next() == Some("from")
        && words
            .next()
            .and_then(|from| from.strip_suffix(':'))
            .and_then(|from| from.parse().ok())
            == Some(addr)
}

/// From the summary `2 packets transmitted, 0 received, 100% packet loss, time 201ms`.
pub(crate) fn packets_sent(stdout: &str) -> Option<u32> {
    stdout.lines().find_map(|line| {
        let (sent, _) = line.split_once(" packets transmitted")?;
        sent.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn ping() -> std::path::PathBuf {
        crate::programs::Programs::default().ping().unwrap()
    }

    fn addr(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn answers_are_for_the_very_address() {
        let line = "64 bytes from 192.168.1.1: icmp_seq=1 ttl=64 time=0.216 ms";
        assert!(is_answer(line, addr("192.168.1.1")));
        assert!(!is_answer(line, addr("192.168.1.10")));
        let longer = "64 bytes from 192.168.1.10: icmp_seq=1 ttl=64 time=0.2 ms";
        assert!(!is_answer(longer, addr("192.168.1.1")));
        let unreachable = "From 192.168.1.1 icmp_seq=1 Destination Host Unreachable";
        assert!(!is_answer(unreachable, addr("192.168.1.1")));
    }

    #[test]
    fn the_summary_tells_how_many_were_sent() {
        let line = "2 packets transmitted, 0 received, 100% packet loss, time 201ms";
        assert_eq!(packets_sent(&format!("\n--- x ---\n{line}\n")), Some(2));
        assert_eq!(packets_sent(""), None);
    }

    #[test]
    fn the_first_answer_ends_it_at_once() {
        let started = Instant::now();
        // 240.0.0.1 is reserved: no host has it.
        let found = first_answer(
            &ping(),
            &[addr("240.0.0.1"), addr("127.0.0.1")],
            3,
            Deadline::after(Duration::from_secs(5)),
        );
        assert_eq!(found.unwrap(), Some(addr("127.0.0.1")));
        assert!(started.elapsed() < Duration::from_secs(1));
        assert!(answers(&ping(), addr("127.0.0.1"), Duration::from_secs(5)).unwrap());
    }

    #[test]
    fn a_ping_that_cannot_work_is_an_error_and_not_silence() {
        let deadline = Deadline::after(Duration::from_millis(300));
        let error = first_answer(Path::new("/bin/false"), &[addr("127.0.0.1")], 3, deadline);
        assert!(error.is_err(), "{error:?}");
        let missing = Path::new("/nonexistent/ping");
        assert!(first_answer(missing, &[addr("127.0.0.1")], 3, deadline).is_err());
        assert!(answers(Path::new("/bin/false"), addr("127.0.0.1"), Duration::ZERO).is_err());
    }
}
