//! Stands between PostgreSQL's programs and the C library, so that a data directory has V8R3's
//! names on the disk although they work with their own: loaded by `LD_PRELOAD`.
//!
//! In the server it also makes of `recovery.conf` what 9.6 did: the file that makes a standby, and
//! that a promotion renames.

mod names;

use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_uint, c_void};
use std::fs::{self, File};
use std::io::{Seek, Write};
use std::os::fd::{FromRawFd, IntoRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};
use std::{env, mem, ptr};

use names::{RECOVERY_CONF, RECOVERY_DONE, STANDBY_SIGNAL};

const PATH_MAX: usize = 4096;

/// A path as it is on the disk. On the stack: these functions also run in signal handlers.
struct Path([u8; PATH_MAX]);

impl Path {
    /// # Safety
    /// `path` is a C string.
    unsafe fn of(path: *const c_char) -> Self {
        let mut room = [0; PATH_MAX];
        // SAFETY: the caller's promise.
        let bytes = unsafe { CStr::from_ptr(path) }.to_bytes();
        if !names::translate(bytes, &mut room) {
            // Too long for the kernel, too, which says so.
            room.fill(b'x');
            room[PATH_MAX - 1] = 0;
        }
        Self(room)
    }

    fn as_ptr(&self) -> *const c_char {
        self.0.as_ptr().cast()
    }
}

/// The C library's function of that name.
macro_rules! real {
    ($name:ident as $type:ty) => {{
        static REAL: OnceLock<usize> = OnceLock::new();
        let name = concat!(stringify!($name), "\0");
        // SAFETY: a C string; the result is looked at before it is used.
        let address = *REAL
            .get_or_init(|| unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr().cast()) as usize });
        if address == 0 {
            // SAFETY: always safe to call.
            unsafe { libc::abort() }
        }
        // SAFETY: the function of that name has that type.
        unsafe { mem::transmute::<usize, $type>(address) }
    }};
}

/// Functions whose first argument is a path.
macro_rules! with_a_path {
    ($(fn $name:ident(path $(, $arg:ident: $type:ty)*) -> $result:ty;)*) => { $(
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(path: *const c_char $(, $arg: $type)*) -> $result {
            let real = real!($name as unsafe extern "C" fn(*const c_char $(, $type)*) -> $result);
            // SAFETY: the caller's promise.
            unsafe { real(Path::of(path).as_ptr() $(, $arg)*) }
        }
    )* };
}

/// Functions with two paths and nothing else.
macro_rules! with_two_paths {
    ($(fn $name:ident;)*) => { $(
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(from: *const c_char, to: *const c_char) -> c_int {
            let real = real!($name as unsafe extern "C" fn(*const c_char, *const c_char) -> c_int);
            // SAFETY: the caller's promise.
            unsafe { real(Path::of(from).as_ptr(), Path::of(to).as_ptr()) }
        }
    )* };
}

with_a_path! {
    fn freopen(path, mode: *const c_char, stream: *mut c_void) -> *mut c_void;
    fn lstat(path, out: *mut c_void) -> c_int;
    fn access(path, mode: c_int) -> c_int;
    fn mkdir(path, mode: c_uint) -> c_int;
    fn rmdir(path) -> c_int;
    fn opendir(path) -> *mut c_void;
    fn chmod(path, mode: c_uint) -> c_int;
    fn chown(path, owner: c_uint, group: c_uint) -> c_int;
    fn truncate(path, length: i64) -> c_int;
    fn readlink(path, out: *mut c_char, room: usize) -> isize;
    fn utime(path, times: *const c_void) -> c_int;
}

/// # Safety
/// As the C library's. Variadic in C; on the machines that there are, the third argument is passed the same
/// way.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    let real = real!(open as unsafe extern "C" fn(*const c_char, c_int, c_uint) -> c_int);
    // SAFETY: the caller's promise.
    let file = unsafe { real(Path::of(path).as_ptr(), flags, mode) };
    // SAFETY: the caller's promise.
    let name = unsafe { CStr::from_ptr(path) }.to_bytes();
    let writes = flags & libc::O_ACCMODE != libc::O_RDONLY;
    if file >= 0 && writes && is_server() && name.ends_with(b"global/pg_control") {
        CONTROL_FILE.store(file, Ordering::Relaxed);
    }
    file
}

/// The control file while the server has it open for writing, else -1. Each of its processes has its own.
static CONTROL_FILE: AtomicI32 = AtomicI32::new(-1);

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn close(file: c_int) -> c_int {
    let real = real!(close as unsafe extern "C" fn(c_int) -> c_int);
    let is_control = CONTROL_FILE.compare_exchange(file, -1, Ordering::Relaxed, Ordering::Relaxed);
    if file >= 0 && is_control.is_ok() {
        copy_control_file(file);
    }
    // SAFETY: the caller's promise.
    unsafe { real(file) }
}

/// What the server has written to its control file it writes to the further ones, too.
fn copy_control_file(file: c_int) {
    let Some(copies) = env::var_os("V8R3_CONTROL_COPIES") else {
        return;
    };
    let mut room = [0_u8; 8192];
    // SAFETY: the room is as large as it says.
    let read = unsafe { libc::pread(file, room.as_mut_ptr().cast(), room.len(), 0) };
    let Some(bytes) = usize::try_from(read).ok().and_then(|read| room.get(..read)) else {
        return;
    };
    for copy in copies.as_bytes().split(|byte| *byte == b';') {
        let path = OsStr::from_bytes(copy);
        if path.is_empty() {
            continue;
        }
        let mut options = File::options();
        let opened = options.write(true).create(true).mode(0o600).open(path);
        if let Err(error) = opened.and_then(|mut file| file.write_all(bytes)) {
            let _ = writeln!(
                std::io::stderr(),
                "control_file_copy {}: {error}",
                path.display()
            );
        }
    }
}

with_two_paths! {
    fn rename;
    fn link;
    fn symlink;
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fopen(path: *const c_char, mode: *const c_char) -> *mut c_void {
    let real = real!(fopen as unsafe extern "C" fn(*const c_char, *const c_char) -> *mut c_void);
    // SAFETY: the caller's promise.
    let name = unsafe { CStr::from_ptr(path) }.to_bytes();
    // The server's own configuration file is the one that was made for it, wherever it looks for it.
    if let (true, Some(made)) = (name.ends_with(b"/postgresql.conf"), configuration()) {
        // SAFETY: both are C strings.
        return unsafe { real(made.as_ptr(), mode) };
    }
    if name.ends_with(b"/kingbase.conf")
        && let Some(today) = settings_of_today(OsStr::from_bytes(name))
    {
        // SAFETY: an open file, and the caller's promise.
        return unsafe { libc::fdopen(today.into_raw_fd(), mode).cast() };
    }
    // SAFETY: the caller's promise.
    unsafe { real(Path::of(path).as_ptr(), mode) }
}

/// A configuration file with the fork's own settings, and those that 13 has renamed, as PostgreSQL takes
/// them: in memory. `None`: it cannot be read.
fn settings_of_today(path: &OsStr) -> Option<File> {
    let text = fs::read(path).ok()?;
    let mut today = Vec::new();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        today.extend(line_of_today(line));
    }
    // SAFETY: a C string; the result is looked at before it is used.
    let memory = unsafe { libc::memfd_create(c"kingbase.conf".as_ptr(), libc::MFD_CLOEXEC) };
    if memory < 0 {
        return None;
    }
    // SAFETY: it was just opened, and is nobody else's.
    let mut file = unsafe { File::from_raw_fd(memory) };
    file.write_all(&today).ok()?;
    file.rewind().ok()?;
    Some(file)
}

fn line_of_today(line: &[u8]) -> Vec<u8> {
    const OWN: [&str; 2] = ["archive_dest", "control_file_copy"];
    let text = String::from_utf8_lossy(line);
    let trimmed = text.trim_start();
    let is = |name: &str| {
        let rest = trimmed.strip_prefix(name);
        rest.filter(|rest| rest.starts_with([' ', '\t', '=']))
    };
    if OWN.iter().any(|name| is(name).is_some()) {
        return format!("v8r3.{trimmed}").into_bytes();
    }
    if let Some(rest) = is("wal_keep_segments") {
        let digits = rest.trim_start_matches([' ', '\t', '=', '\'']);
        let end = digits.find(|it: char| !it.is_ascii_digit());
        let number = digits[..end.unwrap_or(digits.len())].parse::<u32>();
        return format!("wal_keep_size = {}MB\n", number.unwrap_or(0) * 16).into_bytes();
    }
    line.to_vec()
}

/// Commands of the archive: the programs in them see what is on the disk.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn system(command: *const c_char) -> c_int {
    let real = real!(system as unsafe extern "C" fn(*const c_char) -> c_int);
    if command.is_null() {
        // SAFETY: it asks whether there is a shell.
        return unsafe { real(command) };
    }
    // SAFETY: the caller's promise.
    let theirs = unsafe { CStr::from_ptr(command) };
    let ours = CString::new(names::in_command(theirs.to_bytes())).unwrap_or_default();
    // SAFETY: a C string.
    unsafe { real(ours.as_ptr()) }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stat(path: *const c_char, out: *mut c_void) -> c_int {
    // From 12 on the server refuses to start with such a file; 9.6 reads it.
    // SAFETY: the caller's promise.
    if is_server() && unsafe { CStr::from_ptr(path) }.to_bytes() == RECOVERY_CONF.as_bytes() {
        // SAFETY: the thread's own.
        unsafe { *libc::__errno_location() = libc::ENOENT };
        return -1;
    }
    let real = real!(stat as unsafe extern "C" fn(*const c_char, *mut c_void) -> c_int);
    // SAFETY: the caller's promise.
    unsafe { real(Path::of(path).as_ptr(), out) }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    if is_server() {
        // SAFETY: the caller's promise.
        let name = unsafe { CStr::from_ptr(path) }.to_bytes();
        if name == STANDBY_SIGNAL.as_bytes() {
            // At the end of its recovery, where 9.6 renames it.
            let [from, to] = [RECOVERY_CONF, RECOVERY_DONE].map(|name| {
                let mut path = Path([0; PATH_MAX]);
                path.0[..name.len()].copy_from_slice(name.as_bytes());
                path
            });
            // SAFETY: both are C strings.
            return unsafe { libc_rename(from.as_ptr(), to.as_ptr()) };
        }
        if name == RECOVERY_DONE.as_bytes() {
            // From 12 on it is of no use; 9.6 leaves it alone.
            return 0;
        }
    }
    let real = real!(unlink as unsafe extern "C" fn(*const c_char) -> c_int);
    // SAFETY: the caller's promise.
    unsafe { real(Path::of(path).as_ptr()) }
}

/// # Safety
/// Both are C strings.
unsafe fn libc_rename(from: *const c_char, to: *const c_char) -> c_int {
    let real = real!(rename as unsafe extern "C" fn(*const c_char, *const c_char) -> c_int);
    // SAFETY: the caller's promise.
    unsafe { real(from, to) }
}

/// # Safety
/// As the C library's: the result is good until the next call. (Of the whole program, here; its
/// threads do not read directories.)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn readdir(directory: *mut c_void) -> *mut libc::dirent {
    static mut RENAMED: mem::MaybeUninit<libc::dirent> = mem::MaybeUninit::uninit();

    let real = real!(readdir as unsafe extern "C" fn(*mut c_void) -> *mut libc::dirent);
    // SAFETY: the caller's promise.
    let entry = unsafe { real(directory) };
    if entry.is_null() {
        return entry;
    }
    // SAFETY: an entry's name is a C string.
    let name = unsafe { CStr::from_ptr((*entry).d_name.as_ptr()) };
    let Some(renamed) = names::in_program(name.to_bytes()) else {
        return entry;
    };
    let copy = (&raw mut RENAMED).cast::<libc::dirent>();
    // SAFETY: an entry is shorter than its type, so that only what is before the name is copied; the
    // name fits, and so does the NUL.
    unsafe {
        let head = mem::offset_of!(libc::dirent, d_name);
        ptr::copy_nonoverlapping(entry.cast::<u8>(), copy.cast::<u8>(), head);
        let place = copy.cast::<u8>().add(head);
        ptr::copy_nonoverlapping(renamed.as_ptr(), place, renamed.len());
        place.add(renamed.len()).write(0);
    }
    copy
}

/// The configuration that was made for this server. Asked for the first time as the server reads it, early.
fn configuration() -> Option<&'static CStr> {
    static MADE: OnceLock<Option<CString>> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let path = env::var_os("V8R3_CONFIGURATION")?;
        CString::new(path.as_bytes()).ok()
    });
    made.as_deref()
}

/// Whether this is the server: it is told by its environment.
fn is_server() -> bool {
    static SERVER: OnceLock<bool> = OnceLock::new();
    *SERVER.get_or_init(|| {
        // SAFETY: a C string; the result is only compared with null. Asked for the first time before
        // the server writes its title over its environment.
        unsafe { !libc::getenv(c"V8R3_SERVER".as_ptr()).is_null() }
    })
}
