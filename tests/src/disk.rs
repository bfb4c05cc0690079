//! A disk of a host that can be made to hang, to fill up and to turn read-only.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::host::Node;
use crate::layout::{DATA, USER};
use crate::process::run;

const LIMIT: Duration = Duration::from_secs(20);
const DATA_DISK: &str = "/mnt/data";
/// Directory of what fills it up.
const FILLER: &str = "filler";

/// A file system of its own, mounted on a host until that is switched off. Dropped, it does not
/// hang any more: a process that is stuck on it survives every signal, and so would the host.
#[derive(Debug)]
pub struct Disk {
    node: Node,
    path: String,
}

impl Node {
    /// Gives the host a disk of so many MB, mounted at `path`; it belongs to the database's user.
    ///
    /// # Errors
    /// The host is off, or the machine has no loop device left.
    pub fn add_disk(&self, path: &str, megabytes: u64) -> Result<Disk> {
        let image = self.image(path);
        File::create(&image)?.set_len(megabytes << 20)?;
        run(
            "mkfs.ext4",
            &["-q", "-m", "0", &image.to_string_lossy()],
            LIMIT,
        )?;
        self.plug_in_disk(path)?;
        Ok(Disk {
            node: Self::new(Arc::clone(&self.shared), self.number()),
            path: path.to_owned(),
        })
    }

    fn image(&self, path: &str) -> PathBuf {
        let name = format!("image{}", path.replace('/', "-"));
        self.shared.disk(self.number()).join(name)
    }

    fn plug_in_disk(&self, path: &str) -> Result<()> {
        let image = self.image(path);
        let find = ["--find", "--show", &image.to_string_lossy()];
        let device = run("losetup", &find, LIMIT)?;
        let device = device.trim();
        let mounted = self.mount(device, path);
        // Lets go of it as soon as it is not mounted any more.
        run("losetup", &["--detach", device], LIMIT)?;
        mounted.with_context(|| format!("mount {device} on {path}"))
    }

    /// Moves the data directory to a disk of its own.
    pub(crate) fn move_data(&self, megabytes: u64) -> Result<()> {
        self.add_disk(DATA_DISK, megabytes)?;
        let script = format!(
            "mv {DATA} {DATA_DISK}/pgdata && ln -s {DATA_DISK}/pgdata {DATA} && sync -f {DATA_DISK}"
        );
        self.run(&["sh", "-c", &script], LIMIT)?.success().map(drop)
    }

    /// The disk of its data directory, where the lab's options give it one.
    pub fn data_disk(&self) -> Disk {
        Disk {
            node: Self::new(Arc::clone(&self.shared), self.number()),
            path: DATA_DISK.to_owned(),
        }
    }

    fn mount(&self, device: &str, path: &str) -> Result<()> {
        let minor = device.trim_start_matches("/dev/loop");
        let owner = format!("{USER}:");
        // The host has only the devices that it was given.
        for command in [
            &["rm", "-f", device][..],
            &["mknod", device, "b", "7", minor],
            &["mkdir", "-p", path],
            &["mount", device, path],
            &["chown", &owner, path],
        ] {
            self.run(command, LIMIT)?.success()?;
        }
        Ok(())
    }
}

impl Disk {
    /// Where it is mounted.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// From now on whatever writes to it hangs in the kernel.
    ///
    /// # Errors
    /// It hangs already, or the host is off.
    pub fn hang(&self) -> Result<()> {
        self.run(&["fsfreeze", "--freeze", &self.path])
    }

    /// It goes on, and what hung on it too.
    ///
    /// # Errors
    /// It does not hang, or the host is off.
    pub fn go_on(&self) -> Result<()> {
        self.run(&["fsfreeze", "--unfreeze", &self.path])
    }

    /// Fills it up to the last byte.
    ///
    /// # Errors
    /// It was filled already, or the host is off.
    pub fn fill(&self) -> Result<()> {
        // For a large file more is set aside than it needs: small ones take the rest.
        let script = format!(
            "mkdir {0}/{FILLER} && cd {0}/{FILLER} || exit 1; cat /dev/zero >large; n=0; \
             while head -c 1024 /dev/zero >small$n; do n=$((n + 1)); done",
            self.path
        );
        self.run(&["sh", "-c", &script])
    }

    /// Makes room again after [`Self::fill`].
    ///
    /// # Errors
    /// It was not filled.
    pub fn make_room(&self) -> Result<()> {
        self.run(&["rm", "-r", &format!("{}/{FILLER}", self.path)])
    }

    /// Makes it read-only, or writable again.
    ///
    /// # Errors
    /// Somebody has a file on it open for writing.
    pub fn set_read_only(&self, read_only: bool) -> Result<()> {
        let mode = if read_only {
            "remount,ro"
        } else {
            "remount,rw"
        };
        self.run(&["mount", "-o", mode, &self.path])
    }

    /// Turns it read-only as the kernel does when it finds the file system damaged, whoever has
    /// files open. There is no way back but [`Self::mount_again`].
    ///
    /// # Errors
    /// The host is off.
    pub fn fail(&self) -> Result<()> {
        self.run(&["mount", "-o", "remount,abort", &self.path])
    }

    /// Mounts it anew, after [`Self::fail`].
    ///
    /// # Errors
    /// Somebody still has a file on it open.
    pub fn mount_again(&self) -> Result<()> {
        self.run(&["umount", &self.path])?;
        let image = self.node.image(&self.path);
        // 1: it was damaged, and is not any more.
        let check = format!("e2fsck -fp {} >&2 || [ $? = 1 ]", image.display());
        run("sh", &["-c", &check], LIMIT)?;
        self.node.plug_in_disk(&self.path)
    }

    fn run(&self, command: &[&str]) -> Result<()> {
        self.node.run(command, LIMIT)?.success().map(drop)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // An error means that it does not hang.
        let _ = self.go_on();
    }
}
