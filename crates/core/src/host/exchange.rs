//! Two files or directories exchange their names in one step. By the number of the system call: C libraries
//! have a function for it since glibc 2.28 only, and hosts with KingbaseES V8R3 an older one.

use nix::errno::Errno;
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Exchanges them; false: this kernel (before 3.15) or this file system cannot, and nothing has changed.
///
/// # Errors
/// One of them is missing, may not be renamed, or they are on two file systems.
pub fn exchange(one: &Path, other: &Path) -> io::Result<bool> {
    exchange_by(libc::SYS_renameat2, one, other)
}

fn exchange_by(number: libc::c_long, one: &Path, other: &Path) -> io::Result<bool> {
    let one = CString::new(one.as_os_str().as_bytes())?;
    let other = CString::new(other.as_os_str().as_bytes())?;
    // SAFETY: both are ended by a zero, and outlive the call, which writes to no memory of ours.
    let result = unsafe {
        libc::syscall(
            number,
            libc::AT_FDCWD,
            one.as_ptr(),
            libc::AT_FDCWD,
            other.as_ptr(),
            libc::RENAME_EXCHANGE,
        )
    };
    match Errno::result(result) {
        Ok(_) => Ok(true),
        Err(Errno::EINVAL | Errno::ENOSYS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn two_directories_exchange_their_names_or_nothing_happens() {
        let dir = std::env::temp_dir().join(format!("failover-exchange-{}", std::process::id()));
        let [one, other] = ["one", "other"].map(|name| dir.join(name));
        for it in [&one, &other] {
            fs::create_dir_all(it).unwrap();
            fs::write(it.join("name"), it.as_os_str().as_bytes()).unwrap();
        }
        let name = |it: &Path| fs::read(it.join("name")).unwrap();
        assert!(exchange(&one, &other).unwrap());
        assert_eq!(name(&one), other.as_os_str().as_bytes());
        // A number that no kernel has.
        assert!(!exchange_by(100_000, &one, &other).unwrap());
        assert_eq!(name(&one), other.as_os_str().as_bytes());
        let missing = exchange(&one, &dir.join("missing")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        fs::remove_dir_all(&dir).unwrap();
    }
}
