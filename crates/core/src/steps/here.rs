//! What every step works on.

use crate::host::ThisHost;
use crate::instance::Instance;

/// This host and its instance.
pub struct Here<'a> {
    /// The host.
    pub host: &'a ThisHost,
    /// Its instance.
    pub instance: Instance,
}
