//! The further control files that a server keeps where its settings say so. The server writes all of them,
//! one after the other, and starts on no two that differ: one that was killed in between does not start by
//! itself again. Whoever puts another one into the data directory (a rewind, a copy, what was kept) writes
//! that one only.

use crate::durable;
use crate::layout::Layout;
use crate::users::SystemUser;
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;

/// Has each of them say what the control file says, and belong to `user`; those that said something else.
/// Nothing may run on the data directory, and its control file must be whole.
///
/// # Errors
/// The control file cannot be read, or one of them not be written.
pub fn renew(layout: &Layout, user: &SystemUser) -> Result<Vec<PathBuf>> {
    let names = layout.flavor();
    let data = layout.data();
    let setting = names.control_copies;
    let Some(named) = setting.and_then(|it| layout.value(data, it)) else {
        return Ok(Vec::new());
    };
    let file = data.join(names.control_file);
    let bytes = fs::read(&file).with_context(|| format!("failed to read {}", file.display()))?;
    let mut renewed = Vec::new();
    for copy in paths(&named).map(|path| data.join(path)) {
        if fs::read(&copy).is_ok_and(|it| it == bytes) {
            continue;
        }
        durable::write(&copy, &bytes, 0o600, Some((user.uid, user.gid))).with_context(|| {
            format!(
                "failed to write {}, which {} names",
                copy.display(),
                setting.unwrap_or_default()
            )
        })?;
        renewed.push(copy);
    }
    Ok(renewed)
}

/// The files of a setting, which are parted by semicolons.
fn paths(named: &str) -> impl Iterator<Item = &str> {
    named.split(';').map(str::trim).filter(|it| !it.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn semicolons_part_them() {
        for (named, expected) in [
            ("", &[][..]),
            ("/a/b c", &["/a/b c"]),
            (" /a ; /b;;", &["/a", "/b"]),
        ] {
            assert_eq!(paths(named).collect::<Vec<_>>(), expected, "{named}");
        }
    }
}
