//! `vip_ctl`: the database VIP on this host. Under the name `change_vip.sh` it takes that
//! script's arguments and prints that script's lines.

mod cli;
mod decide;
mod environment;
mod privilege;
mod run;

use cli::{Ask, Form};
use failover_core::exit::Exit;
use failover_core::inherited;
use failover_core::terminal::{complain, say};
use std::process::ExitCode;

fn main() -> ExitCode {
    inherited::shed();
    let elevated = privilege::elevated();
    if elevated {
        environment::empty();
    }
    let exit = match cli::parse(std::env::args_os()) {
        Ask::Do(request) => match run::run(&request, elevated) {
            Ok(ending) => {
                say(&ending.answer);
                if let Some(why) = ending.complaint {
                    complain(request.form.name(), &why);
                }
                ending.exit
            }
            Err(error) => {
                complain(request.form.name(), &format!("{error:#}"));
                Exit::of(&error)
            }
        },
        Ask::Say { text, exit } => {
            say(&text);
            exit
        }
        Ask::Wrong(why) => {
            complain(Form::VipCtl.name(), &format!("{why}; see vip_ctl --help"));
            Exit::Usage
        }
    };
    exit.into()
}
