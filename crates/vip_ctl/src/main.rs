//! `vip_ctl`: the database VIP on this host. Under the name `change_vip.sh` it takes that
//! script's arguments and prints that script's lines.

mod decide;
mod environment;
mod privilege;
mod run;

use failover_core::exit::Exit;
use failover_core::inherited;
use failover_core::teller::Teller;
use run::Ending;
use serde_json::Value;
use std::ffi::OsString;
use std::process::ExitCode;
use vip_ctl::cli::{self, Ask, Form};

fn main() -> ExitCode {
    inherited::shed();
    let elevated = privilege::elevated();
    if elevated {
        environment::empty();
    }
    let words: Vec<OsString> = std::env::args_os().collect();
    let form = Form::of(&words);
    let teller = match form {
        Form::VipCtl => Teller::new(form.name(), &words),
        Form::Script => Teller::in_words(form.name()),
    };
    let exit = match cli::parse(form, words) {
        Ask::Do(request) => match run::run(&request, elevated, &teller) {
            Ok(ending) => tell(&teller, ending),
            Err(error) => teller.ends(Exit::of(&error), &format!("{error:#}")),
        },
        Ask::Say { text, exit } => {
            teller.say(&text);
            teller.object(exit, &text, Value::Null)
        }
        Ask::Wrong(why) => teller.ends(Exit::Usage, &format!("{why}; see vip_ctl --help")),
    };
    exit.into()
}

/// What came of the work.
fn tell(teller: &Teller, ending: Ending) -> Exit {
    let Ending {
        exit,
        answer,
        complaint,
        report,
    } = ending;
    teller.say(&answer);
    if let Some(why) = &complaint {
        teller.complain(why);
    }
    teller.object(exit, complaint.as_ref().unwrap_or(&answer), report)
}
