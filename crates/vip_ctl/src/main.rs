//! `vip_ctl`: the database VIP on this host. Under the name `change_vip.sh` it takes that
//! script's arguments and prints that script's lines.

mod cli;
mod decide;
mod privilege;
mod run;

use cli::{Ask, Form};
use failover_core::exit::Exit;
use failover_core::inherited;
use std::process::ExitCode;

fn main() -> ExitCode {
    inherited::shed();
    let elevated = privilege::elevated();
    if elevated {
        privilege::hand_on();
    }
    let exit = match cli::parse(std::env::args_os()) {
        Ask::Do(request) => match run::run(&request, elevated) {
            Ok(done) => {
                done.print(&request);
                done.exit
            }
            Err(error) => {
                eprintln!("{}: {error:#}", request.form.name());
                error
                    .downcast_ref::<run::Refusal>()
                    .map_or(Exit::Failed, |refusal| refusal.exit)
            }
        },
        Ask::Show(text) => {
            print!("{text}");
            Exit::Done
        }
        Ask::Wrong(why) => {
            eprintln!("{}: {why}; see vip_ctl --help", Form::VipCtl.name());
            Exit::Usage
        }
        Ask::Script { line, exit } => {
            println!("{line}");
            exit
        }
    };
    exit.into()
}
