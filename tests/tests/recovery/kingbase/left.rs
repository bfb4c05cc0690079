//! The same where a standby has its settings in a file of their own.

use anyhow::Result;
use lab::Lab;

use super::{consent, v8r3};
use crate::left::goes_down;

#[test]
fn a_standby_that_has_left_and_is_down() -> Result<()> {
    Lab::with(v8r3("nr-left-v8r3").failing_over_at_once(), |lab| {
        goes_down(lab, (101, 102), consent)
    })
}
