//! `HAmodule.conf(5)`, from the table of keys.

use anyhow::{Context, Result};
use clap_mangen::roff::{Roff, bold, roman};
use failover_core::config::KEYS;

/// The page.
pub fn page() -> Result<Vec<u8>> {
    let mut page = Roff::new();
    let of_package = concat!("failover-tools ", env!("CARGO_PKG_VERSION"));
    page.control(
        "TH",
        ["HAmodule.conf", "5", "", of_package, "failover-tools"],
    );
    page.control("SH", ["NAME"]);
    page.text([roman(
        "HAmodule.conf - configuration of the failover tools of a database cluster",
    )]);
    page.control("SH", ["DESCRIPTION"]);
    for paragraph in DESCRIPTION {
        page.control("PP", []);
        page.text([roman(paragraph)]);
    }
    page.control("SH", ["KEYS"]);
    for key in KEYS {
        page.control("TP", []);
        page.text([bold(key.name)]);
        page.text([roman(plain(key.meaning))]);
        page.control("br", []);
        page.text([roman(format!("Value: {}.", plain(key.accepted)))]);
        page.control("br", []);
        page.text([roman(match key.default {
            None => "It must be set.".to_owned(),
            Some(default) => format!("Not set: {}.", plain(default)),
        })]);
    }
    page.control("SH", ["SEE ALSO"]);
    page.text([
        bold("failover_stream"),
        roman("(8), "),
        bold("network_rewind"),
        roman("(8), "),
        roman("/usr/share/doc/failover-tools/configuration.md"),
    ]);
    let mut text = Vec::new();
    page.to_writer(&mut text)
        .context("failed to write the page")?;
    Ok(text)
}

const DESCRIPTION: [&str; 4] = [
    "The tools read it from ../etc/HAmodule.conf, seen from the directory of the program with its links \
     resolved, or from the file that --config names. Each host has its own.",
    "Each line assigns one value: KEY=value, KEY=\"value\", KEY='value', or a list, KEY=(a b c). A # begins a \
     comment. The file is data: no command in it is run, and no variable is replaced.",
    "It holds passwords: root owns it, its group is that of the database's system user, and its mode is 0640.",
    "failover_stream --check-config prints all that is wrong with it, and changes nothing.",
];

/// Without the marks of the manual in `docs/`.
fn plain(text: &str) -> String {
    text.trim_end_matches('.').replace('`', "") + if text.ends_with('.') { "." } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_its_paragraph() {
        let page = String::from_utf8(page().unwrap()).unwrap();
        assert!(KEYS.len() > 50);
        for key in KEYS {
            assert!(
                page.contains(&format!("\\fB{}\\fR", key.name)),
                "{}",
                key.name
            );
        }
        assert!(page.contains("Not set: 9999."));
        assert!(!page.contains('`'));
        assert!(!page.contains("..\n"), "no sentence ends twice");
    }
}
