//! The server of this host: locking, stopping, starting it.

use crate::budget;
use crate::steps::rejoin;
use crate::work::{Break, Work};
use anyhow::{Context, Result, bail};
use failover_core::clock;
use failover_core::deadline::Deadline;
use failover_core::durable;
use failover_core::flavor::StandbySettings;
use failover_core::history::{self, History, Standing};
use failover_core::instance;
use failover_core::lsn::{Lsn, Timeline};
use failover_core::procedure::Done;
use failover_core::process::{Background, Output};
use failover_core::sql::{Session, SqlFailure};
use failover_core::standby;
use failover_core::state::{LockError, Stage};
use failover_core::status;
use failover_core::workers;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often a server that starts is asked, and a child that works is looked at.
const ASK_INTERVAL: Duration = Duration::from_millis(10);
/// How often the port is tried.
const PORT_INTERVAL: Duration = Duration::from_millis(5);
/// A server that is asked for the first time owes its answer no longer than this.
const ONE_ANSWER: Duration = Duration::from_secs(1);
/// SQLSTATE of a server that starts, stops, or recovers.
const NOT_YET: &str = "57P03";
/// At the end of the name of a history that is aside.
const ASIDE: &str = ".aside";
/// For a word in the state before a stop, which must not wait for it.
const REMEMBER_TIME: Duration = Duration::from_millis(500);
/// `pg_ctl start -W` itself.
const START_PROGRAM: Duration = Duration::from_secs(10);

/// Takes the instance lock, and looks again: what was decided on may have changed since.
pub fn lock(work: &mut Work<'_>, deadline: Deadline) -> Result<Done> {
    if work.lock.is_some() {
        return Ok(Done::AlreadySo("it is held".to_owned()));
    }
    work.lock = match work.state.lock_for_recovery() {
        Ok(Some(lock)) => Some(lock),
        Ok(None) => bail!(Break::Changed(
            "a promotion of this node, which wins, has begun".to_owned()
        )),
        // Without a state directory there is no mark either: nothing of this may be begun.
        Err(
            error @ (LockError::Nowhere { .. } | LockError::Held { .. } | LockError::Io { .. }),
        ) => {
            return Err(error.into());
        }
    };
    let state = work.load()?;
    let held = state.held.filter(|it| it.is_young(clock::seconds()));
    if held.is_some() && !work.was_held {
        work.lock = None;
        bail!(Break::Changed(
            "a failover has told this node not to listen to the old primary".to_owned()
        ));
    }
    let now = status::look(work.here, work.instance, deadline);
    let before = (work.me.running, work.me.in_recovery);
    if (now.running, now.in_recovery) != before {
        work.lock = None;
        bail!(Break::Changed(
            "this node's database has changed".to_owned()
        ));
    }
    Ok(Done::Did("taken".to_owned()))
}

/// Stops the server, and whatever of a run that was killed still writes into its directory.
pub fn stop(work: &mut Work<'_>, deadline: Deadline) -> Result<Done> {
    work.yield_to_promotion()?;
    if work.is_started()? {
        return Ok(Done::AlreadySo("it runs as a standby".to_owned()));
    }
    stop_now(work, deadline)
}

/// The same for a recovery. What restarts the server as soon as it is down, a supervisor or a person, must
/// not have it run on the directory that is being changed.
pub fn stop_and_bar(work: &mut Work<'_>, deadline: Deadline) -> Result<Done> {
    work.yield_to_promotion()?;
    if work.is_started()? {
        return Ok(Done::AlreadySo("it runs as a standby".to_owned()));
    }
    bar(work);
    stop_now(work, deadline)
}

/// Nobody else starts the server from here on. Without that it goes on, too: whoever has started it is seen
/// before the rewind.
fn bar(work: &Work<'_>) {
    let data = work.data();
    if let Err(error) = instance::bar(data)
        && data.exists()
    {
        let text = format!("warning: {} cannot be barred: {error}", data.display());
        work.journal.stamped(text);
    }
}

fn stop_now(work: &mut Work<'_>, deadline: Deadline) -> Result<Done> {
    work.journal
        .line("if recover node up, let it down , for rewind");
    let killed = work.instance.kill_strays(deadline)?;
    if killed > 0 {
        work.journal.stamped(format!(
            "killed {killed} processes that a run before this one had left at work"
        ));
    }
    work.stopped_standby |= work.me.in_recovery == Some(true);
    let stopped = work.instance.stop(deadline)?;
    refuses(work, deadline)?;
    Ok(match stopped.was_down() {
        true => Done::AlreadySo(stopped.to_string()),
        false => {
            work.journal.stamped(format!("the database is {stopped}"));
            Done::Did(stopped.to_string())
        }
    })
}

fn refuses(work: &Work<'_>, deadline: Deadline) -> Result<()> {
    let gone = deadline.poll(PORT_INTERVAL, || {
        work.instance.refuses(deadline).then_some(())
    });
    match gone {
        Some(()) => Ok(()),
        None => bail!(
            "no database process is left, yet something answers on port {}: find out what it is",
            work.config().kb_port
        ),
    }
}

/// The primary of a host that is cut off stops itself, and remembers that it did.
pub fn self_fence(work: &mut Work<'_>, deadline: Deadline) -> Result<Done> {
    // First: if we die between the two, a primary that runs forgets it. But nothing keeps it from the stop.
    let state = work.state.clone();
    let remember = move || state.update(|state| state.self_fenced = Some(clock::stamp()));
    let remembered = workers::within(deadline.at_most(REMEMBER_TIME), remember);
    let stopped = work.instance.stop(deadline)?;
    work.journal.stamped(format!("the database is {stopped}"));
    remembered
        .context("the disk of STATE_DIR gives no answer")?
        .context("the state could not be written, so that this stop is not remembered")?;
    Ok(Done::Did(stopped.to_string()))
}

/// A rewind wants a clean shutdown. What was a primary gets it from a single-user server; what was a
/// standby must be started *with* its settings: without them it would end its recovery on the
/// same timeline, and fork it where no rewind can see.
pub fn clean(work: &mut Work<'_>, deadline: Deadline) -> Result<Done> {
    work.yield_to_promotion()?;
    if work.copies || !crate::steps::rewind::is_before_rewind(work)? {
        return Ok(Done::Skipped("it is not needed".to_owned()));
    }
    let data = work.data();
    let settings = work.standby_files(data);
    settings
        .put_back()
        .context("failed to put the standby settings back")?;
    let before = work.control()?;
    if before.is_clean() {
        return Ok(Done::AlreadySo(format!("\"{}\"", before.state)));
    }
    if crate::look::base_backup(work.instance).is_some() {
        bail!(Break::Changed(
            "the data directory has become a base backup".to_owned()
        ));
    }
    if failover_core::instance::is_primary_state(&before.state) {
        work.journal.stamped(format!(
            "the database was not shut down (\"{}\"): crash recovery first",
            before.state
        ));
        settings
            .put_aside()
            .context("failed to put the standby settings aside")?;
        instance::unbar(data).context("failed to give the data directory its mode back")?;
        let result = recover_alone(work, deadline);
        bar(work);
        work.standby_files(data)
            .put_back()
            .context("failed to put the standby settings back")?;
        result?;
    } else {
        work.journal.stamped(format!(
            "the standby was not shut down (\"{}\"): it is started and stopped first",
            before.state
        ));
        launch_where_it_is(work, deadline)?;
        bar(work);
        work.instance.stop(Deadline::after(budget::STOP))?;
        refuses(work, Deadline::after(budget::STOP))?;
    }
    let after = work.control()?;
    match after.is_clean() {
        true => Ok(Done::Did(format!(
            "was \"{}\", is \"{}\"",
            before.state, after.state
        ))),
        false => bail!(
            "the database is still \"{}\" after its crash recovery: see the server's log",
            after.state
        ),
    }
}

fn recover_alone(work: &Work<'_>, deadline: Deadline) -> Result<Output> {
    let command = work.instance.crash_recovery();
    work.instance.mend_control_copies(deadline);
    if work.instance.forget_reused_pid()? {
        work.journal.stamped(
            "the pid file of the dead server named a process that is another's by now: it was removed",
        );
    }
    let mut child = Background::spawn(&command)?;
    let mut next = Deadline::after(budget::PROGRESS);
    let output = deadline.poll(ASK_INTERVAL, || {
        work.progress(&mut next, None, || "crash recovery goes on ...".to_owned());
        if work.yield_to_promotion().is_err() {
            return Some(None);
        }
        child.look(|_, _| ()).map(Some)
    });
    match output {
        Some(Some(output)) => {
            for line in output.stderr.lines() {
                work.journal.line(line);
            }
            Ok(output.checked(&command)?)
        }
        Some(None) => Err(Break::PromotionWanted.into()),
        None => bail!("{command} was not done in time, and was killed"),
    }
}

/// Starts the server, and waits until it answers.
pub fn start(work: &mut Work<'_>, deadline: Deadline) -> Result<Done> {
    let (journal, names) = (work.journal, work.names());
    if !work.instance.processes()?.is_empty() {
        if answers(work)?.is_ok() {
            // Its settings may have been written after its start.
            work.instance.reload()?;
            work.lock = None;
            return Ok(Done::AlreadySo("it runs".to_owned()));
        }
        wait_until_it_answers(work, deadline)?;
    } else {
        see_that_it_is_not_held(work)?;
        journal.stamped(format!("start up the {}...", names.server));
        launch(work, deadline)?;
    }
    journal.line(
        work.here
            .sql_target()
            .log_line(names.sql_client, [" ", "   "], "select 33333;"),
    );
    let session = Session::open(&work.here.sql_target(), Deadline::after(budget::ANSWER))?;
    session.value("select 33333", Deadline::after(budget::ANSWER))?;
    // From here on a promotion may have it.
    work.lock = None;
    work.stopped_standby = false;
    Ok(Done::Did("it answers".to_owned()))
}

/// A failover that came while this node was being recovered could not reach its database, and has left its word:
/// what is started now would acknowledge the old primary.
fn see_that_it_is_not_held(work: &Work<'_>) -> Result<()> {
    let history = work.seen.as_ref().and_then(|it| it.history.as_ref());
    let Some(theirs) = history
        .map(History::timeline)
        .filter(|_| !work.stays_standby)
    else {
        return Ok(());
    };
    let held = work.load()?.held;
    match held.filter(|it| it.is_young(clock::seconds()) && it.newer > theirs) {
        Some(_) => bail!(Break::Changed(format!(
            "a failover has told this node not to listen to {}",
            work.primary
        ))),
        None => Ok(()),
    }
}

/// The file for what the server prints at its start, before its own log begins.
fn start_log(work: &Work<'_>) -> PathBuf {
    work.state.path().join(failover_core::instance::START_LOG)
}

/// Starts the server and waits until it answers, with the lines of the server's own program.
pub fn launch(work: &Work<'_>, deadline: Deadline) -> Result<()> {
    see_that_it_follows(work)?;
    // Of a promotion that died.
    work.instance
        .release_timelines()
        .context("failed to look for reserved timelines")?;
    let log = start_log(work);
    let before = fs::metadata(&log).map_or(0, |meta| meta.len());
    if let Some(unit) = work.instance.supervisor().unit() {
        work.journal
            .stamped(format!("the database is started by its unit {unit}"));
    }
    work.instance
        .start(&log, deadline.at_most(START_PROGRAM))
        .with_context(|| hint(work))?;
    let result = wait_until_it_answers(work, deadline);
    let said = said_since(&log, before);
    let mut lines = said.lines();
    work.journal.line(format!(
        "waiting for server to start....{}",
        lines.next().unwrap_or_default()
    ));
    lines.for_each(|line| work.journal.line(line));
    result?;
    work.journal.line(" done");
    work.journal.line("server started");
    Ok(())
}

/// Launches a standby that may have left the history of the primary which it followed. It would ask for
/// the newest timeline of which it has the history, and end, that not being one of its own descendants:
/// for the time of its start those are aside.
fn launch_where_it_is(work: &Work<'_>, deadline: Deadline) -> Result<()> {
    let control = work.control()?;
    let timeline = control.timeline.max(control.min_recovery_timeline);
    let position = control.checkpoint.max(control.min_recovery);
    let dir = work.data().join(work.names().wal_dir);
    let aside = strange_histories(&dir, timeline, position)?;
    let rename = |from: &Path, to: &Path| {
        durable::rename(from, to).with_context(|| format!("failed to rename {}", from.display()))
    };
    for file in &aside {
        rename(file, &set_aside(file))?;
    }
    let result = launch(work, deadline);
    // A promotion must not take their numbers for its own timeline.
    for file in &aside {
        rename(&set_aside(file), file)?;
    }
    result
}

/// The files in `dir` with the histories of newer timelines that do not come from `position` on
/// `timeline`; also those that a run which was killed has left aside.
fn strange_histories(dir: &Path, timeline: Timeline, position: Lsn) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let Ok(name) = entry?.file_name().into_string() else {
            continue;
        };
        let name = name.strip_suffix(ASIDE).unwrap_or(&name);
        let Some(newer) = history::timeline_of(name).filter(|it| *it > timeline) else {
            continue;
        };
        let file = dir.join(name);
        let text = fs::read_to_string(&file).or_else(|_| fs::read_to_string(set_aside(&file)));
        let strange = |text: String| {
            History::parse(newer, &text)
                .is_ok_and(|theirs| theirs.standing(timeline, position) != Standing::Part)
        };
        if text.is_ok_and(strange) {
            found.push(file);
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

fn set_aside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ASIDE);
    name.into()
}

/// The standby that was stopped, or is being started for its clean shutdown, runs and answers.
pub fn run_again(work: &Work<'_>, deadline: Deadline) -> Result<()> {
    match work.instance.processes()?.is_empty() {
        true => launch_where_it_is(work, deadline),
        false => wait_until_it_answers(work, deadline),
    }
}

/// Without its settings a standby would come up as one more primary, on the timeline that it shares
/// with the first.
fn see_that_it_follows(work: &Work<'_>) -> Result<()> {
    if !matches!(work.stage()?, Stage::Preparing | Stage::Following) {
        bail!("the data directory is half of another history: it stays down");
    }
    let mark = work.standby_files(work.data()).mark();
    if (work.primary != work.me() || work.stays_standby) && !mark.exists() {
        bail!(
            "{} is missing, without which the database would start as a second primary: it stays \
             down",
            mark.display()
        );
    }
    Ok(())
}

/// What the server printed at its start: enough of it to see why it failed, not its life.
fn said_since(log: &PathBuf, before: u64) -> String {
    const LINES: usize = 20;
    const BYTES: u64 = 64 << 10;
    // Without a logging collector its whole life is in there.
    let mut fresh = Vec::new();
    let read = File::open(log).and_then(|mut file| {
        file.seek(SeekFrom::Start(before))?;
        file.take(BYTES).read_to_end(&mut fresh)
    });
    if read.is_err() {
        return String::new();
    }
    let fresh = String::from_utf8_lossy(&fresh);
    // Our own questions, which came too early.
    const TOO_EARLY: [&str; 3] = [
        "FATAL:  the database system is starting up",
        "FATAL:  the database system is not yet accepting connections",
        "DETAIL:  Consistent recovery state has not been yet reached.",
    ];
    let asked = |line: &&str| !TOO_EARLY.iter().any(|early| line.contains(early));
    let lines = fresh.lines().filter(asked).take(LINES);
    lines.collect::<Vec<_>>().join("\n")
}

fn hint(work: &Work<'_>) -> String {
    let supervisor = work.instance.supervisor();
    let log = supervisor
        .log()
        .unwrap_or_else(|| start_log(work).display().to_string());
    let right = match supervisor.unit() {
        Some(unit) => format!(" (this user needs the right to start {unit}: docs/install.md)"),
        None => String::new(),
    };
    format!("the database does not start: see {log}{right}")
}

/// Whether the server answers; the outer error: it refuses for good.
fn answers(work: &Work<'_>) -> Result<Result<(), String>> {
    let limit = Deadline::after(ONE_ANSWER);
    match Session::open(&work.here.sql_target(), limit) {
        Ok(_) => Ok(Ok(())),
        Err(error) => match &error.failure {
            SqlFailure::Login(_) => Err(error.into()),
            SqlFailure::Server { code, .. } if code != NOT_YET => Err(error.into()),
            _ => Ok(Err(error.to_string())),
        },
    }
}

fn wait_until_it_answers(work: &Work<'_>, deadline: Deadline) -> Result<()> {
    let mut next = Deadline::after(budget::PROGRESS);
    let mut why = String::new();
    // A server that was just asked for shows no process for a moment.
    let mut grace = Deadline::after(ONE_ANSWER);
    // Each question is a line in the server's log, so one that replays for an hour is asked seldom.
    let (begun, mut next_question) = (Instant::now(), Deadline::after(Duration::ZERO));
    let done = deadline.poll(ASK_INTERVAL, || {
        if next_question.passed() {
            match answers(work) {
                Ok(Ok(())) => return Some(Ok(())),
                Ok(Err(not_yet)) => why = not_yet,
                Err(error) => return Some(Err(error)),
            }
            next_question = Deadline::after((begun.elapsed() / 8).min(ONE_ANSWER));
        }
        work.progress(&mut next, None, || format!("the database starts: {why}"));
        match work.instance.processes() {
            Ok(processes) if processes.is_empty() && grace.passed() => Some(Err(anyhow::anyhow!(
                "the database ended again at its start"
            ))),
            Ok(processes) => {
                if !processes.is_empty() {
                    grace = Deadline::after(ONE_ANSWER);
                }
                None
            }
            Err(error) => Some(Err(error.into())),
        }
    });
    match done {
        Some(result) => result.with_context(|| hint(work)),
        None => bail!("{}; it did not answer in time: {why}", hint(work)),
    }
}

/// Has the server read its settings, where it takes those of a standby without a restart.
fn reloads(work: &Work<'_>) -> Result<bool> {
    let limit = Deadline::after(budget::ANSWER);
    let session = Session::open(&work.here.sql_target(), limit)?;
    let version = session.value("SHOW server_version_num", limit)?;
    let version: u32 = version.and_then(|text| text.parse().ok()).unwrap_or(0);
    match work.names().standby_settings {
        StandbySettings::Configuration { reloads_from, .. } if version >= reloads_from => {
            session.query(&format!("SELECT {}()", work.names().reload_conf), limit)?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// Whether the server has a setting, of its start, with which it does not follow.
fn must_restart(work: &Work<'_>) -> Result<bool> {
    let limit = Deadline::after(budget::ANSWER);
    let session = Session::open(&work.here.sql_target(), limit)?;
    Ok(standby::kept_on(&session, work.names(), limit)?.is_some())
}

/// A run that was killed after it had written the settings, and before the server read them, leaves a
/// standby that follows somebody else than its settings say.
pub fn reload(work: &mut Work<'_>, _: Deadline) -> Result<Done> {
    Ok(match reloads(work)? {
        true => Done::Did("its settings are read anew".to_owned()),
        false => Done::Skipped("its settings are read at the start only".to_owned()),
    })
}

/// Has a running standby follow what its settings name now.
pub fn follow(work: &mut Work<'_>, deadline: Deadline) -> Result<Done> {
    // Since it was looked at it may have got WAL from the old primary, which runs as a standby once fenced.
    rejoin::still_follows(work)?;
    let done = match !must_restart(work)? && reloads(work)? {
        true => "reloaded",
        false => {
            // The settings are read at the start only.
            work.yield_to_promotion()?;
            stop_now(work, Deadline::after(budget::STOP))?;
            launch(work, deadline)?;
            work.stopped_standby = false;
            "restarted"
        }
    };
    work.lock = None;
    work.journal.stamped(format!(
        "the database is {done}, and follows {}",
        work.primary
    ));
    Ok(Done::Did(done.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histories_that_a_standby_has_left_are_found() {
        let dir = std::env::temp_dir().join(format!("histories-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        for (name, text) in [
            ("00000002.history", "1\t0/500\n"),
            ("00000003.history", "1\t0/500\n2\t0/600\n"),
            ("00000004.history.aside", "1\t0/500\n2\t0/600\n"),
            ("00000005.history", "torn"),
            ("000000030000000000000006", ""),
        ] {
            fs::write(dir.join(name), text).unwrap();
        }
        let found = |timeline, position| -> Vec<PathBuf> {
            let found = strange_histories(&dir, timeline, Lsn(position)).unwrap();
            let names = found
                .iter()
                .map(|it| it.strip_prefix(&dir).unwrap().to_owned());
            names.collect()
        };
        let names = |all: &[&str]| all.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(found(2, 0x600), names(&[]));
        assert_eq!(
            found(2, 0x601),
            names(&["00000003.history", "00000004.history"])
        );
        assert_eq!(found(3, 0x900), names(&["00000004.history"]));
        fs::remove_dir_all(&dir).unwrap();
    }
}
