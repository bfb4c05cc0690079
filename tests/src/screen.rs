//! Words to whoever plays drills. Nobody may be listening any more (`drills | head -1`): `println!` would
//! panic then, in the middle of a drill.

use std::io::{self, Write};

/// Shows a text as it is.
pub fn show(text: &str) {
    let _ = write!(io::stdout(), "{text}");
}

/// As `println!`; where nobody listens it says nothing.
#[macro_export]
macro_rules! say {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($words)*);
    }};
}

/// As `eprintln!`; where nobody listens it says nothing.
#[macro_export]
macro_rules! complain {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($words)*);
    }};
}
